import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Activity, idleAfterMs } from '../src/activity.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a device is idle without input, in the background while nobody can see it, and tells each change once', () => {
  const said: string[] = []
  const activity: Activity = new Activity(() => said.push(activity.state))
  expect(activity.state).toBe('active')
  vi.advanceTimersByTime(idleAfterMs - 1)
  activity.input()
  vi.advanceTimersByTime(idleAfterMs - 1)
  expect(said).toEqual([])
  vi.advanceTimersByTime(1)
  activity.input()
  activity.hide(true)
  activity.hide(true)
  vi.advanceTimersByTime(2 * idleAfterMs)
  activity.hide(false)
  vi.advanceTimersByTime(idleAfterMs)
  expect(said).toEqual(['idle', 'active', 'background', 'active', 'idle'])
})
