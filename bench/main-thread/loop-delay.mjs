import { monitorEventLoopDelay } from 'node:perf_hooks'

const resolution = 1

/** `longest()`: by how much [seconds] a timer of 1 ms was late at most since it was asked last. */
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
