/** Parts of the GPU check that are scripts; each prints its own table and saves its result as it grows. */
import { inTurn, statusOf } from './budget.mjs'
import { runScript } from './child.mjs'

/** Scripts that print measured figures beside the predictions of bench/cuda-model.mjs. */
const takesPredictions = /products|train-step/

function extraOf(script, { quick, emulated, predicted }) {
  const extra = [...(quick || emulated ? ['--tiny'] : []), ...(quick ? ['--quick'] : [])]
  return predicted && takesPredictions.test(script) ? [...extra, '--predicted', predicted] : extra
}

function part(script, summaryOf) {
  return async (options, { budget, note }) => {
    const progress = (result) => note({ status: 'running', summary: summaryOf(result), ...result })
    const { status, ending, result } = await runScript(script, extraOf(script, options), { budget, note: progress })
    const ended = status === 'passed' ? [] : [ending]
    const summary = [...(result ? [summaryOf(result)] : []), ...ended].join('; ')
    return { ...result, ...skippedIf(result, status), summary }
  }
}

/** A script that can measure nothing here prints why. */
const skippedIf = (result, status) => ({ status: result?.skipped && status === 'passed' ? 'skipped' : status })

/** Checks that only hardware can do, group by group, each in a process of its own. */
async function hardware(options, { budget, note }) {
  const script = 'scripts/check-gpu/hardware.mjs'
  const groups = ['products', 'sections', 'loss', 'sampling', 'attention', 'large']
  const sum = (results, leftOut = []) => {
    const cases = results.flatMap((result) => result.cases)
    const count = (status) => cases.filter((one) => one.status === status).length
    const rest = leftOut.length > 0 ? `, left out: ${leftOut.join(', ')}` : ''
    // A group that ended early: a fault of the device, or the time limit.
    const ended = results.filter(
      ({ status, cases }) =>
        status === 'cut short' || (status === 'failed' && !cases.some((one) => one.status === status)),
    )
    const why = ended.map(({ group, ending }) => `, ${group}: ${ending}`).join('')
    const summary = `${count('passed')} of ${cases.length} passed, ${count('skipped')} skipped${why}${rest}`
    return { status: statusOf(results, leftOut), summary, groups: results, leftOut }
  }
  const run = async (group, noteGroup) => {
    const progress = (result) => noteGroup({ group, status: 'running', ...result })
    const extra = [group, ...extraOf(script, options)]
    const { status, ending, result } = await runScript(script, extra, { budget, note: progress })
    return { group, status, ending, cases: result?.cases ?? [] }
  }
  const { results, leftOut } = await inTurn(groups, { budget, note: (soFar) => note(sum(soFar)) }, run)
  return sum(results, leftOut)
}

export const benchmarks = {
  hardware,
  training: part('scripts/check-gpu/training.mjs', ({ runs }) => {
    const apart = Math.max(...runs.filter(({ dtype }) => dtype === 'float32').map(({ lossApart }) => lossApart))
    return `${runs.length} runs, losses in float32 at most ${apart.toExponential(1)} apart from the CPU's`
  }),
  operations: part('bench/cuda/operations.mjs', ({ operations }) => `${operations.length} operations measured`),
  products: part('bench/cuda/products.mjs', ({ cases }) => {
    const adds = cases.map(({ addsPercent }) => addsPercent)
    return `adapters add ${Math.min(...adds).toFixed(0)} to ${Math.max(...adds).toFixed(0)} % to the frozen products`
  }),
  step: part('bench/cuda/train-step.mjs', ({ cases }) => `${cases.length} models and methods measured`),
  pytorch: part('bench/cuda/pytorch.mjs', ({ skipped, attention, steps }) =>
    skipped ? skipped : `${attention.length} attentions and ${steps.length} training steps measured beside PyTorch`,
  ),
}
