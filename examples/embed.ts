/**
 * Trains embeddings that find the answer to a question, and writes them for sentence-transformers.
 *
 *     node examples/embed.ts [model] [output] [steps]              (Node 22.18 or newer; before: npx tsx examples/embed.ts)
 */
import { embed, embeddingsOf, evaluate, loadModel, mergeModel, train } from 'node-mora'

const [path = 'assets/demo-model', output = 'out/animals', steps = '40'] = process.argv.slice(2)
const sounds = {
  cat: 'meow',
  dog: 'bark',
  cow: 'moo',
  duck: 'quack',
  bee: 'hum',
  owl: 'hoot',
  pig: 'oink',
  lamb: 'bleat',
}
const data = Object.entries(sounds).map(([animal, sound]) => ({
  anchor: `What does a ${animal} do`,
  positive: `It will ${sound}`,
}))

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
const before = await evaluate(model, { task: 'embed', data })
const course = { method: 'lora', learningRate: 5e-3, maxSteps: Number(steps) } as const
await train(model, { objective: embed({ pooling: 'mean' }), data, output, ...course }).finished
const after = await evaluate(model, { task: 'embed', data })
console.log(`nDCG@10 ${before.ndcgAt10!.toFixed(3)}, then ${after.ndcgAt10!.toFixed(3)}`)

const [question, ...answers] = await embeddingsOf(model, [data[3]!.anchor, ...data.map(({ positive }) => positive)])
const cosines = answers.map((answer) => answer.reduce((sum, value, i) => sum + value * question![i]!, 0))
console.log(`${data[3]!.anchor}? ${data[cosines.indexOf(Math.max(...cosines))]!.positive}.`)

await mergeModel({ model: path, adapter: output, output: `${output}/merged`, overwrite: true })
console.log(`merged into ${output}/merged`)
