import { describe, expect, test } from 'vitest'
import { between, goesOn, pieces, sourceOf, split, unitOf } from '../src/model/blocks.ts'

const answer = 'On “slow”, a.md says:\n\n> | a slow client | waits |\n> more\n\n— a.md:28\nAnd then\n\n```\n> code\n\nmore\n```\nThe end.\n'

function outline(text: string): string[] {
  return split(text).map((block) => `${block.kind}: ${block.lines.map((line) => line.text).join('⏎')}`)
}

describe('blocks', () => {
  test('are paragraphs, quotes, their sources, and code', () => {
    expect(outline(answer)).toEqual([
      'paragraph: On “slow”, a.md says:',
      'quote: | a slow client | waits |⏎more',
      'source: — a.md:28',
      'paragraph: And then',
      'code: ```⏎> code⏎⏎more⏎```',
      'paragraph: The end.',
    ])
    expect(split(answer).map(sourceOf)[2]).toEqual({ file: 'a.md', line: 28 })
  })

  test('are the same whether a text is read at once or as it grows, by one character or by seven', () => {
    for (const by of [1, 7]) {
      let blocks = split('')
      for (let end = 0; end < answer.length + by; end += by) blocks = split(answer.slice(0, end), blocks)
      expect(blocks).toEqual(split(answer))
    }
  })

  test('keep what is complete as it is', () => {
    const before = split('One.\n\nTwo.\n\nThr')
    const after = split('One.\n\nTwo.\n\nThree.', before)
    expect(after.map((block, i) => block === before[i])).toEqual([true, true, false])
  })

  test('lines know where they stand in the answer', () => {
    for (const { lines } of split(answer)) for (const { start, text } of lines) expect(answer.slice(start, start + text.length)).toBe(text)
  })
})

describe('a line', () => {
  test.each([
    ['plain', ['text plain']],
    ['run `go test` **now**', ['text run ', 'sign `', 'code go test', 'sign `', 'text  ', 'sign **', 'strong now', 'sign **']],
    ['an open `tick', ['text an open `tick']],
    ['a | b', ['text a | b']],
  ])('%s', (line, want) => {
    expect(pieces(line).map(({ kind, text }) => `${kind} ${text}`)).toEqual(want)
  })

  test.each([
    ['| a | `b` |', ['sign | ', 'text a ', 'bar |', 'text  ', 'sign `', 'code b', 'sign `', 'sign  |']],
    ['| a | **b | c** |  ', ['sign | ', 'text a ', 'bar |', 'text  ', 'sign **', 'strong b | c', 'sign **', 'sign  |  ']],
    ['| a | b', ['sign | ', 'text a ', 'bar |', 'text  b']],
    ['|', ['sign |']],
  ])('that is a row: %s', (line, want) => {
    expect(pieces(line, true).map(({ kind, text }) => `${kind} ${text}`)).toEqual(want)
  })

  test.each(['a `b` **c** `', '| x ||y|', '****', '``a`b``', '** `a` **', '|  | |', '| `a|` |'])('keeps every character of %s', (line) => {
    for (const row of [false, true]) {
      const all = pieces(line, row)
      expect(all.map((piece) => piece.text).join('')).toBe(line)
      for (let from = 0; from <= line.length; from++) {
        for (let to = from; to <= line.length; to++) {
          expect(between(all, from, to).map((piece) => piece.text).join('')).toBe(line.slice(from, to))
        }
      }
    }
  })

  test('keeps its form where it is cut', () => {
    expect(between(pieces('run `go test` now'), 6, 15).map(({ kind, text }) => `${kind} ${text}`)).toEqual(['code o test', 'sign `', 'text  n'])
  })
})

test('code points are not UTF-16 units', () => {
  expect([0, 1, 2, 3, 9].map((n) => unitOf('a💡b', n))).toEqual([0, 1, 3, 4, 4])
})

test('a fence within a quote makes code of what follows, up to the next one', () => {
  const [quote] = split('> see\n> ```json\n> {"a":1}\n> ```\n> then `b`\n')
  expect(quote?.lines.map(({ form, text }) => `${form ?? 'text'} ${text}`)).toEqual(['text see', 'fence ```json', 'code {"a":1}', 'fence ```', 'text then `b`'])
})

test('a quote of a table has rows, and dashes below the names of its columns; in code there are none', () => {
  const [quote] = split('> | a | b |\n> |---|:--|\n> | 1 | - |\n> ```\n> | - |\n> ```\n> | - |\n')
  expect(quote?.lines.map(({ form }) => form)).toEqual(['row', 'dashes', 'row', 'fence', 'code', 'fence', 'row'])
})

test('lines of prose that were broken for their width go on; lines of code, tables and lists do not', () => {
  const long = 'a line of prose that is as long as lines in a document are before they are broken into two'
  const line = (text: string) => ({ start: 0, text })
  expect(goesOn(line(long), line('and goes on'))).toBe(true)
  expect(goesOn(line(long), line('`code` too'))).toBe(true)
  expect(goesOn(line('a short line'), line('and another'))).toBe(false)
  expect(goesOn(line(long), line('- an item'))).toBe(false)
  expect(goesOn(line(long), line('{"json":true}'))).toBe(false)
  expect(goesOn({ ...line(`| ${long} |`), form: 'row' }, line('more'))).toBe(false)
  expect(goesOn({ ...line(long), form: 'code' }, { ...line('more'), form: 'code' })).toBe(false)
})
