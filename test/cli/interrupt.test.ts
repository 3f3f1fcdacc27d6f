import { afterEach, describe, expect, it, vi } from 'vitest'
import { interruptible } from '../../lib/cli/terminal/interrupt.js'

afterEach(() => vi.restoreAllMocks())

/** Delivers the signal to listeners, as the process would on Ctrl-C. */
const interrupt = () => process.emit('SIGINT', 'SIGINT')

describe('work that can be interrupted', () => {
  it('is asked to stop by the first signal and may end in its own time', async () => {
    let stop = () => {}
    const stopped = new Promise<void>((resolve) => {
      stop = resolve
    })
    const result = interruptible(async () => {
      await stopped
      return 'saved'
    }, stop)
    interrupt()
    expect(await result).toEqual({ value: 'saved', interrupted: true })
  })

  it('ends the process at the second signal', async () => {
    const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as unknown as typeof process.exit)
    let release = () => {}
    const result = interruptible(
      () =>
        new Promise<void>((resolve) => {
          release = resolve
        }),
      () => {},
    )
    interrupt()
    expect(exit).not.toHaveBeenCalled()
    interrupt()
    expect(exit).toHaveBeenCalledWith(130)
    release()
    await result
  })

  it('goes on at a second signal where a launcher has many of them', async () => {
    const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as unknown as typeof process.exit)
    let stops = 0
    let release = () => {}
    const work = new Promise<void>((resolve) => {
      release = resolve
    })
    const result = interruptible(
      () => work,
      () => stops++,
      { oneOfMany: true },
    )
    interrupt()
    interrupt()
    release()
    expect(await result).toEqual({ value: undefined, interrupted: true })
    expect([stops, exit.mock.calls.length]).toEqual([1, 0])
  })

  it('of the process itself is not cut off by a signal when it is done', async () => {
    vi.resetModules()
    vi.useFakeTimers()
    const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as unknown as typeof process.exit)
    const before = new Set(process.listeners('SIGTERM'))
    const fresh = await import('../../lib/cli/terminal/interrupt.js')
    fresh.endWithWork()
    try {
      await fresh.interruptible(
        async () => 1,
        () => {},
      )
      expect(process.emit('SIGTERM', 'SIGTERM')).toBe(true)
      vi.advanceTimersByTime(500)
      expect(exit).not.toHaveBeenCalled()
      // Unless what is left does not come to its end.
      vi.advanceTimersByTime(1000)
      expect(exit).toHaveBeenCalledWith(130)
    } finally {
      vi.useRealTimers()
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
        for (const listener of process.listeners(signal)) if (!before.has(listener)) process.off(signal, listener)
      }
    }
  })

  it('leaves no listener behind, whatever happens', async () => {
    const before = process.listenerCount('SIGINT')
    expect(
      await interruptible(
        async () => 1,
        () => {},
      ),
    ).toEqual({ value: 1, interrupted: false })
    await expect(
      interruptible(
        () => Promise.reject(new Error('no')),
        () => {},
      ),
    ).rejects.toThrow('no')
    expect(process.listenerCount('SIGINT')).toBe(before)
  })
})
