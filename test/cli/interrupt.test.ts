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

  it.each(['SIGINT', 'SIGTERM', 'SIGUSR2'] as const)(
    'of one of many is saved at once by %s, and goes on at a second one',
    async (signal) => {
      const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as unknown as typeof process.exit)
      const calls: string[] = []
      let release = () => {}
      const work = new Promise<void>((resolve) => {
        release = resolve
      })
      const before = process.listenerCount(signal)
      const result = interruptible(
        () => work,
        () => calls.push('stop'),
        () => calls.push('save'),
      )
      for (let i = 0; i < 2; i++) process.emit(signal, signal)
      release()
      expect(await result).toEqual({ value: undefined, interrupted: true })
      expect(calls).toEqual(['save', 'stop'])
      expect(exit).not.toHaveBeenCalled()
      expect(process.listenerCount(signal)).toBe(before)
    },
  )

  it('of one of many is saved, but goes on, when a launcher may be about to end it', async () => {
    const before = process.listenerCount('SIGCONT')
    let saves = 0
    const result = interruptible(
      async () => process.emit('SIGCONT', 'SIGCONT'),
      () => {},
      () => saves++,
    )
    expect(await result).toEqual({ value: true, interrupted: false })
    expect(saves).toBe(1)
    expect(process.listenerCount('SIGCONT')).toBe(before)
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
