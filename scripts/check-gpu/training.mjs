/**
 * Trains tiny models on the CPU and on the GPU with several methods and compares losses and norms of the gradients step by
 * step:
 *
 *     node scripts/check-gpu/training.mjs [--quick] [--json result.json]
 */
import { parseArgs } from 'node:util'
import { AdamW, lora, mora, operators } from 'node-mora'
import { keep } from '../../bench/common/keep.mjs'
import { table } from '../../bench/common/table.mjs'
import { trainStep } from '../../bench/common/train-step.mjs'
import { batchOf, expectedOf, loadTiny, rowsOf, tinyModels } from '../../test/golden/tiny-models.js'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, tiny: { type: 'boolean' }, json: { type: 'string' } },
})

/** Relative. Each side is within half of it of float64 (test/golden); bfloat16 has 8 bits. */
const allowed = { float32: { loss: 1e-4, gradNorm: 1e-3 }, bfloat16: { loss: 0.02, gradNorm: 0.2 } }
const steps = options.quick ? 2 : 8
const rowsPerStep = 3

const methods = {
  ...Object.fromEntries(operators.map((operator) => [operator, () => mora({ rank: 3, operator })])),
  lora: () => lora({ rank: 3 }),
}
const names = options.quick ? ['rotation'] : Object.keys(methods)
const models = options.quick ? tinyModels.slice(0, 1) : tinyModels

const runs = []
for (const model of models) {
  for (const method of names)
    for (const dtype of ['float32', 'bfloat16']) {
      runs.push(await compare(model, method, dtype))
      keep(options.json, { allowed, runs })
    }
}
console.log(
  `\nTraining on the GPU beside the CPU, ${steps} steps: largest relative difference of a step\n${table(
    ['model', 'method', 'dtype', 'first loss', 'last loss', 'loss apart', 'norm apart', ''],
    runs.map(({ model, method, dtype, gpu, lossApart, normApart, agrees }) => [
      model,
      method,
      dtype,
      gpu[0].loss.toFixed(4),
      gpu[gpu.length - 1].loss.toFixed(4),
      lossApart.toExponential(1),
      normApart.toExponential(1),
      agrees ? '' : 'TOO FAR',
    ]),
  )}`,
)
process.exit(runs.every(({ agrees }) => agrees) ? 0 : 1)

async function compare(model, method, dtype) {
  const [cpu, gpu] = [await train('cpu', model, method, dtype), await train('cuda', model, method, dtype)]
  const apart = (key) => Math.max(...cpu.map((step, i) => Math.abs(gpu[i][key] / step[key] - 1)))
  const [lossApart, normApart] = [apart('loss'), apart('gradNorm')]
  const agrees = lossApart <= allowed[dtype].loss && normApart <= allowed[dtype].gradNorm
  return { model, method, dtype, cpu, gpu, lossApart, normApart, agrees }
}

async function train(device, name, method, dtype) {
  process.env.MORA_TEST_DEVICE = device // which loadTiny reads
  const model = await loadTiny(name, dtype)
  model.addAdapter('trained', methods[method]())
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const rows = rowsOf(name, expectedOf(name).training[0].name)
  const taken = []
  for (let step = 0; step < steps; step++) {
    const chosen = Array.from({ length: rowsPerStep }, (_, i) => rows[(step * rowsPerStep + i) % rows.length])
    taken.push(await trainStep(model, optimizer, batchOf(chosen), 1e-3))
  }
  optimizer.dispose()
  model.dispose()
  return taken
}
