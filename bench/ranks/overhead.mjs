// The cost of ranks in a single process: steps as `mora train` takes them, and the same without any code of ranks, in turn in
// one process. CPU time is independent of other work on the machine, and a step of few tokens shows best what each step costs,
// whatever its size.
import { median, spread, takeTurns } from '../common/turns.mjs'
import { jobOfOne } from './job.mjs'

const aim = 0.005
const stepsInRound = 10

export async function measureOverhead({ options, script, task }) {
  const job = jobOfOne('one rank', script, task)
  try {
    const { smallTokens } = await job.ready()
    const cpuSeconds = async (request) => (await job.step(request)).answers[0].cpuSeconds
    const sides = ['plain', 'unwatched'].map((how) => ({ run: () => cpuSeconds({ how, isSmall: true }) }))
    const [plain, ranks] = await takeTurns(sides, stepsInRound * options.rounds)
    const [whole] = await takeTurns([{ run: () => cpuSeconds({ how: 'plain' }) }], 2)
    const more = median(ranks.map((seconds, i) => seconds - plain[i]))
    const share = more / median(whole)
    const line = (name, seconds) => ({
      name: `a step, ${name}, processor's time`,
      sides: [{ name: 'node-mora', seconds: spread(seconds) }],
    })
    const [few, all] = [`1 × ${smallTokens}`, `${task.rows} × ${task.length}`]
    return {
      lines: [
        line(`${few}, without ranks`, plain),
        line(`${few}, one rank`, ranks),
        line(`${all}, without ranks`, whole),
      ],
      facts: { more, share },
      notes: [
        `With one rank a step takes ${(1e6 * more).toFixed(0)} µs more of the processor's time than without any, ` +
          `${(100 * share).toFixed(3)} % of one on ${all} tokens (aim ${100 * aim} %).`,
      ],
    }
  } finally {
    await job.stop()
  }
}
