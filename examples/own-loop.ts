/**
 * A training loop of one's own, from the parts that `train` is made of.
 *
 *     node examples/own-loop.ts [model] [data] [output] [epochs]  (Node 22.18 or newer; before: npx tsx examples/own-loop.ts)
 */
import { AdamW, DataLoader, loadDataset, loadModel, mora, schedule } from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', output = 'out/own-loop', epochs = '30'] =
  process.argv.slice(2)

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await model.addAdapter('facts', mora({ rank: 2 }))

const rows = await loadDataset(data, { tokenizer: model.tokenizer, maxLength: 128 })
const loader = new DataLoader(rows, { batchSize: 32, epochs: Number(epochs), seed: 1 })
const totalSteps = Math.ceil(rows.length / 32) * Number(epochs)
const rate = schedule({ learningRate: 1e-2, scheduler: 'cosine', warmupSteps: 2, totalSteps })
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))

let step = 0
for await (const batch of loader) {
  const { loss, targetTokens } = model.loss(batch) // sum over the target tokens, [1] float32 on the device
  await loss.backward() // into .grad of every trained parameter
  const norm = optimizer.step({ learningRate: rate(step), scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
  step++
  if (step % 10 === 0) {
    const mean = (await loss.item()) / targetTokens
    console.log(`step ${step}/${totalSteps}  loss ${mean.toFixed(4)}  gradient norm ${(await norm.item()).toFixed(3)}`)
  }
  loss.dispose()
  norm.dispose()
}

await model.saveAdapter('facts', output)
console.log(`saved ${output}`)
optimizer.dispose()
model.dispose()
