/**
 * Runs every side (`{ name, run }`) once to warm up and then `rounds` times, one after the other in turn. Resolves with
 * what each side's runs resolved with, the warm-up left out.
 */
export async function takeTurns(sides, rounds) {
  for (const { run } of sides) await run()
  const results = sides.map(() => [])
  for (let round = 0; round < rounds; round++) {
    // Who goes first changes, so that nobody always follows the same neighbour.
    for (let i = 0; i < sides.length; i++) {
      const at = (round + i) % sides.length
      results[at].push(await sides[at].run())
    }
  }
  return results
}

/** Sides as a line of the report has them, from what `takeTurns` resolved with. */
export const timedSides = (sides, results, secondsOfRun = ({ seconds }) => seconds) =>
  sides.map(({ name }, i) => ({ name, seconds: spread(results[i].map(secondsOfRun)) }))

/** Seconds that `body` and what it enqueued on the device take. */
export async function secondsOf(device, body) {
  const start = performance.now()
  await body()
  await device.synchronize()
  return (performance.now() - start) / 1000
}

/** Median, extremes and all of a list of figures. */
export function spread(values) {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values), all: values }
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2
}
