/**
 * Objectives of one's own on the hidden states and logits of a model: an adapter that learns what a teacher expects next
 * (distillation), and a head that predicts a number for each text (regression).
 *
 *     node examples/own-objective.ts [model] [data] [steps]  (Node 22.18 or newer; before: npx tsx examples/own-objective.ts)
 */
import {
  AdamW,
  type Batch,
  DataLoader,
  exp,
  linear,
  loadDataset,
  loadModel,
  logSoftmax,
  mean,
  mora,
  mul,
  noGrad,
  Parameter,
  scope,
  square,
  sub,
  sum,
  Tensor,
} from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', steps = '10'] = process.argv.slice(2)

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
const base = model.withAdapters([])
const rows = await loadDataset(data, { tokenizer: model.tokenizer, maxLength: 128 })

/**
 * KL(teacher ‖ student) = Σ p (ln p - ln q) over the tokens with a target, [1]. The teacher is the model without its adapter;
 * it could be any model of the same vocabulary.
 */
function distillation(batch: Batch): Tensor {
  return scope(() => {
    const teacher = noGrad(() => base.forward(batch, { rows: 'targets' }))
    return model.forward(batch, { rows: 'targets' }).sumOverLogits((logits, from, to) => {
      const logP = logSoftmax(teacher.logits(from, to))
      return sum(mul(exp(logP), sub(logP, logSoftmax(logits))))
    })
  })
}

/** Mean squared error of a number for each text, from the hidden state of its last token, [1]. */
function regression(batch: Batch, weight: Parameter, bias: Parameter): Tensor {
  return scope(() => {
    const ends = batch.offsets.slice(1)
    const { hidden } = model.forward(batch, { rows: ends.map((end) => end - 1) })
    // The number to learn: the text's length, in units of 32 tokens.
    const lengths = Float32Array.from(ends, (end, i) => (end - batch.offsets[i]!) / 32)
    const wanted = Tensor.from(lengths, [ends.length, 1], { device: model.device })
    return mean(square(sub(linear(hidden, weight, bias), wanted)))
  })
}

async function train(name: string, parameters: Parameter[], learningRate: number, lossOf: (batch: Batch) => Tensor) {
  const optimizer = new AdamW(parameters)
  const loader = new DataLoader(rows, { batchSize: 8, epochs: 1000, seed: 1 })
  let step = 0
  for await (const batch of loader) {
    if (++step > Number(steps)) break
    const loss = lossOf(batch)
    await loss.backward()
    optimizer.step({ learningRate, maxGradNorm: 1 }).dispose()
    console.log(`${name}  step ${step}  loss ${(await loss.item()).toFixed(5)}`)
    loss.dispose()
  }
  optimizer.dispose()
}

// A fresh adapter changes nothing: with these values, the student starts away from the teacher.
model.addAdapter('student', mora({ rank: 2 }))
const adapter = model.trainableParameters().map(({ parameter }) => parameter)
for (const parameter of adapter) {
  parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => 0.1 * Math.sin(i)))
}
await train('distillation', adapter, 1e-2, distillation)

const { hiddenSize } = model.config
const weight = new Parameter('weight', Tensor.zeros([1, hiddenSize], { device: model.device }))
const bias = new Parameter('bias', Tensor.zeros([1], { device: model.device }))
await train('regression', [...adapter, weight, bias], 1e-2, (batch) => regression(batch, weight, bias))

for (const parameter of [weight, bias]) parameter.dispose()
model.dispose()
