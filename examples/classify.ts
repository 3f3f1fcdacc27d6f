/**
 * Trains a classifier of texts, measures it, and merges it into a model that transformers reads.
 *
 *     node examples/classify.ts [model] [output] [steps]           (Node 22.18 or newer; before: npx tsx examples/classify.ts)
 */
import { classify, evaluate, loadModel, mergeModel, scoresOf, train } from 'node-mora'

const [path = 'assets/demo-model', output = 'out/moods', steps = '30'] = process.argv.slice(2)
const words = { good: ['fine', 'warm', 'bright', 'kind'], bad: ['cold', 'dark', 'lost', 'torn'] }
const data = Object.entries(words).flatMap(([label, some]) =>
  some.flatMap((word) => ['day', 'house', 'coat'].map((thing) => ({ text: `The ${thing} is ${word}`, label }))),
)

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await train(model, { objective: classify(), method: 'lora', learningRate: 5e-3, data, output, maxSteps: Number(steps) })
  .finished

const { accuracy, f1 } = await evaluate(model, { task: 'classify', data })
console.log(`accuracy ${accuracy}`, f1)
const [scores] = await scoresOf(model, ['The coat is warm'])
console.log(`The coat is warm: ${model.labels![scores!.indexOf(Math.max(...scores!))]}`)

await mergeModel({ model: path, adapter: output, output: `${output}/merged`, overwrite: true })
console.log(`merged into ${output}/merged`)
