// Two ranks of one thread beside one process of two, and the same of PyTorch.
import { join } from 'node:path'
import { lacksBlas, lacksBlasNote, pytorchMethods } from '../common/pytorch.mjs'
import { median, spread, takeTurns } from '../common/turns.mjs'
import { lossAgreement } from '../training/report.mjs'
import { glooJob, jobOfOne, latest, onLoopback, pytorchJob } from './job.mjs'

/** `ratio` is relative to the speed of one process, `hidden` to the time in which gradients are in transit. */
const aims = { ratio: 0.95, hidden: 0.9 }

export async function measureSpeed({ options, folder, script, task }) {
  const wide = { ...task, threads: 2 }
  /** @type {{ job: import('./job.mjs').Job, how?: string }[]} */
  const all = [
    { job: jobOfOne('one process', script, wide), how: 'alone' },
    { job: await glooJob('2 ranks', onLoopback(2), script, task), how: 'ranks' },
  ]
  const notes = []
  try {
    for (const { job } of all) await job.ready()
    if (options.pytorch && pytorchMethods.includes(task.operator)) {
      const store = join(folder, 'store')
      all.push(
        { job: pytorchJob('PyTorch', 1, wide, options) },
        { job: pytorchJob('PyTorch DDP', 2, { ...task, store }, options) },
      )
      for (const { job } of all.slice(2)) await job.ready()
      if (task.dtype === 'float32' && lacksBlas(all[2].job.facts)) {
        notes.push(lacksBlasNote('PyTorch', task.dtype))
        for (const { job } of all.splice(2)) await job.stop()
      }
    }
    /**
     * Losses of all steps, the first included, which is not counted.
     * @type {number[][]}
     */
    const losses = all.map(() => [])
    const sides = all.map(({ job, how }, i) => {
      const run = async () => {
        const step = await job.step({ how })
        losses[i].push(step.loss)
        return step
      }
      return { name: job.name, run }
    })
    const results = await takeTurns(sides, options.rounds)
    const facts = ratiosOf(results)
    return { lines: linesOf(results, losses, task), notes: [...notesOf(facts), ...notes], facts }
  } finally {
    await Promise.all(all.map(({ job }) => job.stop()))
  }
}

/** Compares PyTorch with each of ours, and all losses with those of our single process. */
function linesOf(results, losses, { rows, length, dtype }) {
  const side = (i, name) => {
    const seconds = spread(results[i].map((step) => step.seconds))
    return { name, seconds, ...(i > 0 && lossAgreement(losses[0], losses[i], dtype)) }
  }
  const line = (name, i, theirs) => ({
    name: `a step, ${rows} × ${length}, ${dtype}, ${name}`,
    amount: rows * length,
    unit: 'tokens/s',
    sides: [side(i, 'node-mora'), ...(results.length > 2 ? [side(i + 2, theirs)] : [])],
  })
  return [line('one process of 2 threads', 0, 'PyTorch, best'), line('2 ranks of one thread', 1, 'PyTorch DDP, best')]
}

/**
 * Ratios of speeds, round by round.
 * @typedef {{ ratio: number, cpuRatio: number, hidden: number, pytorchRatio?: number, overPytorch?: number, ranksOverPytorch?: number }} Ratios
 * @returns {Ratios}
 */
function ratiosOf(results) {
  const speed = (i, beside) => median(results[i].map(({ seconds }, round) => results[beside][round].seconds / seconds))
  const cpu = ({ answers }) => answers.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)
  const cpuRatio = median(results[1].map((step, round) => cpu(step) / cpu(results[0][round])))
  const hidden = median(results[1].map(({ answers }) => hiddenShare(answers)))
  const ours = { ratio: speed(1, 0), cpuRatio, hidden }
  if (results.length === 2) return ours
  return { ...ours, pytorchRatio: speed(3, 2), overPytorch: speed(0, 2), ranksOverPytorch: speed(1, 3) }
}

/**
 * The share of the gradients' transit time that lies before the end of the backward pass. A sum is in transit once the last
 * rank has its gradients: until then there is nothing to send.
 */
export function hiddenShare(answers) {
  let sending = 0
  let begin = 0
  for (const i of answers[0].sums.keys()) {
    const sums = answers.map((answer) => answer.sums[i])
    const end = latest(sums, 'end')
    sending += end - Math.max(begin, latest(sums, 'ready'))
    begin = end
  }
  const exposed = Math.max(0, begin - latest(answers, 'backward'))
  return sending > 0 ? 1 - Math.min(1, exposed / sending) : 1
}

/** @param {Ratios} ratios */
function notesOf({ ratio, cpuRatio, hidden, pytorchRatio, overPytorch, ranksOverPytorch }) {
  const times = (value = Number.NaN) => `${value.toFixed(3)}×`
  return [
    `2 ranks are ${times(ratio)} as fast as one process (aim ${aims.ratio}×), and take ${times(cpuRatio)} its processor's time.`,
    `${(100 * hidden).toFixed(1)} % of the time that gradients are on their way is hidden behind the backward pass ` +
      `(aim ${100 * aims.hidden} %).`,
    ...(pytorchRatio === undefined
      ? []
      : [
          `PyTorch DDP is ${times(pytorchRatio)} as fast as PyTorch in one process. node-mora is ${times(overPytorch)} as fast ` +
            `as PyTorch in one process, and ${times(ranksOverPytorch)} with 2 ranks.`,
        ]),
  ]
}
