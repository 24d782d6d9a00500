import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { utf8Bytes } from '../src/chunks.js'
import { applyChunk, codePoints, newId } from '../src/index.js'
import { Texts } from '../src/texts.js'

interface Golden {
  name: string
  chunks: { start: number; text: string }[]
  new: ({ start: number; text: string } | null)[]
  text: string
  length: number
}

const golden: Golden[] = JSON.parse(readFileSync(new URL('../../../wire/testdata/chunks.json', import.meta.url), 'utf8'))

describe('the golden file, which the Go client obeys too', () => {
  test.each(golden)('$name', (g) => {
    const texts = new Texts()
    const got = g.chunks.map(({ start, text }) => {
      const change = texts.chunk('R/answer', start, text)
      return change ? { start: change.start, text: change.added } : null
    })
    expect(got).toEqual(g.new)
    expect(texts.get('R/answer')).toMatchObject({ text: g.text, length: g.length, state: 'open' })
  })

  test.each(golden)('applyChunk: $name', (g) => {
    let state = { text: '', length: 0 }
    for (const c of g.chunks) {
      const next = applyChunk(state, c)
      if (c.start > state.length) {
        expect(next).toEqual({ ...state, added: '', hole: c.start - state.length })
        continue
      }
      expect(next).toEqual({ text: state.text + next.added, length: [...next.text].length, added: next.added, hole: 0 })
      state = { text: next.text, length: next.length }
    }
    expect(state.text.startsWith(g.text)).toBe(true)
  })
})

test('halves of surrogate pairs count as one, as when they are replaced', () => {
  expect(codePoints('\ud83d')).toBe(1)
  expect(codePoints('\ude00\ud83d\ude00\ud83d')).toBe(3)
  expect(applyChunk({ text: 'a', length: 1 }, { start: 0, text: 'a\ud83dz' })).toMatchObject({ text: 'a\ud83dz', length: 3 })
})

test('bytes are those of UTF-8', () => {
  for (const s of ['', 'a', 'é', '€', '🙂', 'a🙂é€', '\ud83d', '\ude00', '\ud83dx', '\ud83d\ud83d\ude00', '\ude00🙂']) {
    expect(utf8Bytes(s)).toBe(new TextEncoder().encode(s).length)
  }
})

test('appending is linear: a chunk costs what is new in it, however long the text is', () => {
  const time = (chunks: number) => {
    const texts = new Texts()
    const from = performance.now()
    for (let i = 0; i < chunks; i++) texts.chunk('R/answer', i * 11, 'ten chars 🙂')
    expect(texts.get('R/answer')!.length).toBe(chunks * 11)
    return performance.now() - from
  }
  time(10_000) // warm up
  const [short, long] = [time(10_000), time(100_000)]
  expect(long).toBeLessThan(Math.max(short, 2) * 40) // quadratic would be 100 times
})

describe('a text that has ended', () => {
  const end = (texts: Texts, length: number, text?: string, state = 'complete') =>
    texts.complete({ stream_id: 's', length, state, ...(text !== undefined && { text }) })

  test('is what stream_complete says, whatever came in chunks', () => {
    const texts = new Texts()
    texts.chunk('s', 0, 'abc')
    expect(end(texts, 5, 'abc🙂d')).toEqual({ start: 3, added: '🙂d' })
    const other = new Texts()
    other.chunk('s', 0, 'abX')
    expect(end(other, 3, 'abc')).toEqual({ start: 0, added: 'abc' })
    const same = new Texts()
    same.chunk('s', 0, 'abc')
    expect(end(same, 3, 'abc', 'cancelled')).toBeUndefined()
    expect(same.get('s')).toEqual({ text: 'abc', length: 3, state: 'cancelled', missing: false })
  })

  test('is whole again where a part was lost', () => {
    const texts = new Texts()
    texts.chunk('s', 0, 'ab')
    texts.chunk('s', 9, 'j')
    expect(texts.get('s')).toEqual({ text: 'ab', length: 10, state: 'open', missing: true })
    expect(end(texts, 10, 'abcdefghij')).toEqual({ start: 0, added: 'abcdefghij' })
    expect(texts.get('s')!.missing).toBe(false)
  })

  test('that is too long to be sent is what came in chunks, if that was all', () => {
    const texts = new Texts()
    texts.chunk('s', 0, 'abc')
    expect(end(texts, 3)).toBeUndefined()
    expect(texts.get('s')).toMatchObject({ text: 'abc', missing: false })
    const lost = new Texts()
    lost.chunk('s', 0, 'abc')
    expect(end(lost, 5)).toBeUndefined()
    expect(lost.get('s')).toMatchObject({ text: 'abc', length: 5, missing: true })
  })

  test('does not grow, and is not named in a restore', () => {
    const texts = new Texts()
    end(texts, 0, '')
    expect(texts.chunk('s', 0, 'late')).toBeUndefined()
    expect(texts.lengths()).toEqual({})
  })
})

describe('memory is bounded', () => {
  test('of texts that have ended the newest 64 are kept', () => {
    const texts = new Texts()
    for (let i = 0; i < 100; i++) texts.complete({ stream_id: `R${i}/a`, length: 1, state: 'complete', text: 'x' })
    expect(texts.get('R35/a')).toMatchObject({ text: '', length: 1, missing: true })
    expect(texts.get('R36/a')).toMatchObject({ text: 'x', missing: false })
  })

  test('and at most 8 Mi of them, but the newest one whatever its size', () => {
    const texts = new Texts()
    const big = 'x'.repeat(5 << 20)
    for (const id of ['a', 'b']) texts.complete({ stream_id: id, length: big.length, state: 'complete', text: big })
    expect(texts.get('a')!.text).toBe('')
    expect(texts.get('b')!.text).toBe(big)
    const huge = 'x'.repeat(9 << 20)
    texts.complete({ stream_id: 'c', length: huge.length, state: 'complete', text: huge })
    expect(texts.get('b')!.text).toBe('')
    expect(texts.get('c')!.text).toBe(huge)
  })

  test('of open texts the 1024 that changed last, and of 4096 others the length', () => {
    const texts = new Texts()
    for (let i = 0; i < 6000; i++) texts.chunk(`R${i}/a`, 0, 'xy')
    texts.chunk('R5000/a', 2, 'z')
    expect(texts.get(`R${6000 - 1024 - 4096 - 1}/a`)).toBeUndefined()
    expect(texts.get(`R${6000 - 1024 - 4096}/a`)).toMatchObject({ text: '', length: 2, missing: true })
    expect(texts.chunk('R2000/a', 0, 'xy')).toBeUndefined() // told once, and not again
    expect(Object.keys(texts.lengths())).toHaveLength(1024)
    expect(Object.keys(texts.lengths(2))).toEqual(['R5000/a', 'R5999/a'])
  })
})

test('ids are UUIDv7s of their time', () => {
  const id = newId(0x0123456789ab)
  expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(new Set(Array.from({ length: 1000 }, () => newId())).size).toBe(1000)
})
