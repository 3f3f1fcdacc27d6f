/**
 * A training loop of one's own on any number of processes, alone or under a launcher:
 *
 *     mpirun -np 2 node examples/many-processes.ts [model] [data] [output] [epochs]  (Node 22.18 or newer; before: npx tsx)
 */
import { AdamW, connectRanks, DataLoader, loadDataset, loadModel, mora } from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', output = 'out/many', epochs = '3'] =
  process.argv.slice(2)

const ranks = await connectRanks()
const { rank, size } = ranks // 0 and 1 in a process that was started alone
const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1, ranks })
await model.addAdapter('facts', mora({ rank: 2 }))
const parameters = model.trainableParameters().map(({ parameter }) => parameter)
const optimizer = new AdamW(parameters)
const rows = await loadDataset(data, { tokenizer: model.tokenizer, maxLength: 128 })

for await (const batch of new DataLoader(rows, { batchSize: 21, epochs: Number(epochs), seed: 1, rank, size })) {
  const own = new Float64Array(2) // the loss of this rank's rows, which may be none, and their target tokens
  if (batch.rows > 0) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    own.set([await loss.item(), targetTokens])
    loss.dispose()
  }
  await ranks.sumGradients(parameters.map((parameter) => parameter.ensureGrad()))
  const [loss = 0, targetTokens = 0] = await ranks.sum(own)
  optimizer.step({ learningRate: 1e-2, scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
  if (rank === 0) console.log(`loss ${(loss / targetTokens).toPrecision(9)}`)
}

if (rank === 0) await model.saveAdapter('facts', output)
await ranks.close()
optimizer.dispose()
model.dispose()
