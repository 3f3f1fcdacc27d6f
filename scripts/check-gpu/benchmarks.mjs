/** Parts of the GPU check that measure, and the training beside the CPU: each a script that prints its own table. */
import { runScript } from './child.mjs'

/** Scripts that stand measured figures beside those of bench/cuda-model.mjs. */
const takesPredictions = /products|train-step/

function part(script, summaryOf) {
  return ({ quick, emulated, predicted }) => {
    const extra = [...(quick || emulated ? ['--tiny'] : []), ...(quick ? ['--quick'] : [])]
    if (predicted && takesPredictions.test(script)) extra.push('--predicted', predicted)
    const { passed, result, ending } = runScript(script, extra)
    return { status: passed ? 'passed' : 'failed', summary: result ? summaryOf(result) : ending, ...result }
  }
}

export const benchmarks = {
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
}
