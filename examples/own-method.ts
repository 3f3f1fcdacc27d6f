/**
 * An adapter method of one's own: checked, trained, saved, loaded and merged. A complete one, with options: adapters/lora-xs.ts.
 *
 *     node examples/own-method.ts [model] [data] [output] [steps]    (Node 22.18 or newer; before: npx tsx examples/own-method.ts)
 */
import { evaluate, loadModel, type Tensor, train } from 'node-mora'
import * as adapters from 'node-mora/adapters'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', output = 'out/gain', steps = '20'] =
  process.argv.slice(2)

/** Multiplies each output of a layer by 1 + g, as (IA)³ does (arXiv 2205.05638): ΔW = diag(g) W, with g [d] from zeros. */
const gain: adapters.AdapterMethod = {
  name: 'gain',
  options: {},
  config: (options) => ({ method: 'gain', ...adapters.checkedConfig({}, options) }),
  learningRate: () => 1e-2,
  tensors: { gain: { shape: (_, { outFeatures }) => [outFeatures] } },
  layer({ dropout }, options, tensors) {
    const g = tensors.parameter('gain')
    const delta = (weight: Tensor) => adapters.scaleRows(weight, g)
    return new adapters.DeltaLayer(options, dropout, [g], { readsWeight: true, delta })
  },
  peft: { peft_type: 'GAIN', dropout: adapters.dropoutEntry },
}

for (const { tensor, form, error } of await adapters.gradientCheck(gain)) console.log(tensor, form, error.toFixed(6))
adapters.registerMethod(gain)

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await model.addAdapter('own', gain.config({ targetModules: ['v_proj', 'down_proj'] }))
await train(model, { data, output, overwrite: true, maxSteps: Number(steps), batchSize: 64 }).finished
model.dispose()

const again = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await again.loadAdapter(output, 'own')
const lossWith = async (adapters: string[]) => (await evaluate(again, { task: 'perplexity', data, adapters })).loss
console.log(`loss of the base ${await lossWith([])}, with the adapter ${await lossWith(['own'])}`)
await again.mergeAdapter('own')
console.log(`loss of the merged model ${await lossWith([])}`)
again.dispose()
