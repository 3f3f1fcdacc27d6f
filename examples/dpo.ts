/**
 * A loop with a loss of one's own: direct preference optimisation (DPO, arXiv 2305.18290). It continues where it was stopped.
 *
 *     node examples/dpo.ts [model] [data] [output] [epochs]           (Node 22.18 or newer; before: npx tsx examples/dpo.ts)
 */
import * as nm from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/preferences.jsonl', output = 'out/dpo', epochs = '6'] =
  process.argv.slice(2)
const model = await nm.loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
const { tokenizer, device } = model
await model.addAdapter('friendly', nm.mora({ rank: 2 }))
const reference = model.withAdapters([]) // the same weights, without the adapter

const answers: nm.Document[] = [] // two of each pair: the chosen one, then the rejected one
for await (const { prompt, chosen, rejected } of nm.readRows(data)) {
  for (const completion of [chosen, rejected]) {
    const row = await nm.tokeniseRow({ prompt, completion }, { tokenizer, maxLength: 128, longRows: 'error' })
    answers.push(...row.documents)
  }
}
const heldOut = nm.packBatch(answers.splice(-16).map((answer, row) => ({ ...answer, row })))
const loader = new nm.DataLoader(answers, { batchSize: 16, epochs: Number(epochs), shuffle: false }) // in whole pairs

/** Returns β (ln π(chosen) − ln π(rejected) − the same of the reference) of each pair, [pairs, 1]. */
async function marginsOf(batch: nm.Batch, gradients: boolean, beta = 0.1): Promise<nm.Tensor> {
  const { rows, targets, offsets, targetTokens } = batch
  const signs = new Float32Array((rows / 2) * targetTokens)
  for (let row = 0, target = 0; row < rows; row++) {
    for (const id of targets.subarray(offsets[row], offsets[row + 1])) {
      if (id >= 0) signs[(row >> 1) * targetTokens + target++] = row % 2 === 0 ? beta : -beta
    }
  }
  const before = await nm.tokenLogProbs(reference, batch, { gradients: false })
  const after = await nm.tokenLogProbs(model, batch, { gradients })
  const weights = nm.Tensor.from(signs, [rows / 2, targetTokens], { device })
  const margins = nm.scope(() => nm.matmul(weights, nm.reshape(nm.sub(after, before), [targetTokens, 1])))
  for (const tensor of [before, after, weights]) tensor.dispose() // the tape keeps what the backward pass needs
  return margins
}

async function report(): Promise<void> {
  const margins = await marginsOf(heldOut, false)
  const values = Array.from(await margins.data(), Number)
  margins.dispose()
  const mean = values.reduce((sum, value) => sum + value) / values.length
  const right = values.filter((value) => value > 0)
  console.log(`held-out pairs: ${right.length} of ${values.length} right, mean margin ${mean.toFixed(6)}`)
}

const optimizer = new nm.AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const found = await nm.newestIntactCheckpoint(output, console.warn)
let { step } = found ? await nm.loadCheckpoint(found, { model, optimizer, loader }) : { step: 0 }
await report()
for await (const batch of loader) {
  const margins = await marginsOf(batch, true)
  const loss = nm.scope(() => nm.mul(nm.mean(nm.logSigmoid(margins)), -1))
  await loss.backward()
  optimizer.step({ learningRate: 3e-4, maxGradNorm: 1 }).dispose()
  console.log(`step ${++step}  loss ${(await loss.item()).toFixed(6)}`)
  for (const tensor of [margins, loss]) tensor.dispose()
  if (step % 5 === 0) await nm.saveCheckpoint(output, { model, optimizer, loader, step })
}
await report()
await model.saveAdapter('friendly', output)
