import { monitorEventLoopDelay } from 'node:perf_hooks'

const resolution = 1

/** `longest()` returns the largest delay [seconds] of a 1 ms timer since its previous call. */
export function loopDelay() {
  const histogram = monitorEventLoopDelay({ resolution })
  histogram.enable()
  return {
    longest: () => {
      const late = histogram.max / 1e9 - resolution / 1000
      histogram.reset()
      return Math.max(0, late)
    },
    stop: () => histogram.disable(),
  }
}
