/**
 * Runs every side (`{ name, run }`) once to warm up and then `rounds` times, in turn. Resolves with the results of each side's
 * runs, without the warm-up.
 */
export async function takeTurns(sides, rounds) {
  for (const { run } of sides) await run()
  const results = sides.map(() => [])
  for (let round = 0; round < rounds; round++) {
    // The first side rotates, so that no side always follows the same neighbour.
    for (let i = 0; i < sides.length; i++) {
      const at = (round + i) % sides.length
      results[at].push(await sides[at].run())
    }
  }
  return results
}

/** Turns the results of `takeTurns` into sides of a report's line. */
export const timedSides = (sides, results, secondsOfRun = ({ seconds }) => seconds) =>
  sides.map(({ name }, i) => ({ name, seconds: spread(results[i].map(secondsOfRun)) }))

/** Returns the seconds that `body` takes, with the work that it enqueues on the device. */
export async function secondsOf(device, body) {
  const start = performance.now()
  await body()
  await device.synchronize()
  return (performance.now() - start) / 1000
}

/** Returns the median, the extremes and all values of a list. */
export function spread(values) {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values), all: values }
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2
}
