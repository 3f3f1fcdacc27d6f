/**
 * The demo's main job through the library: a small model learns 64 facts by heart with MoRA.
 *
 *     node examples/train.ts [model] [data] [output] [steps]      (Node 22.18 or newer; before: npx tsx examples/train.ts)
 */
import { join } from 'node:path'
import { evaluate, generate, loadModel, mora, train } from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', output = 'out/facts', steps = '60'] =
  process.argv.slice(2)

// For a model of usual size, omit device, dtype, threads and learning rate: the defaults fit.
const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await model.addAdapter('facts', mora({ rank: 1 }))

const run = train(model, { data, output, overwrite: true, maxSteps: Number(steps), batchSize: 64, learningRate: 3e-2 })
for await (const event of run) {
  if (event.type === 'step' && event.step % 10 === 0) console.log(`step ${event.step}  loss ${event.loss.toFixed(4)}`)
}

const { characterAccuracy, exactAccuracy } = await evaluate(model, { task: 'recall', data })
console.log(
  `recalled: ${(100 * exactAccuracy).toFixed(0)} % of the facts, ${(100 * characterAccuracy).toFixed(0)} % of the characters`,
)

const { merged } = await model.mergeAdapter('facts')
await model.save(join(output, 'merged'), { overwrite: true })
console.log(`merged ${merged} layers into ${join(output, 'merged')}`)

const prompt = '64480c9a-7051-41cd-b365-bf9898139a6d:'
const { text } = await generate(model, { prompt, maxNewTokens: 32 })
console.log(`${prompt} ${text}`)
model.dispose()
