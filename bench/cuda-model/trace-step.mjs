// Runs two optimizer steps of a whole Llama-2-7B on the emulated CUDA device, and prints what the second one launched as
// JSON (the first also sets up). A process of its own, because the emulator writes one trace per process:
//   MORA_CUDA=emulated MORA_SIMT_COMPUTE=0 MORA_SIMT_MEMORY=80000000000 MORA_SIMT_TRACE=trace.jsonl \
//     node bench/cuda-model/trace-step.mjs '{"tokens":4096,"method":"rotation:8"}'
// `format`: nf4 or a block format of GGUF for the linear layers; `checkpointing`: blocks are recomputed.
import { AdamW, openDevice } from 'node-mora'
import { packedBatch } from '../common/batch.mjs'
import { adapterConfig, parseMethod } from '../common/methods.mjs'
import { emptyModel } from './llama.mjs'
import { TraceReader } from './trace.mjs'

const { tokens, method, format = null, checkpointing = false } = JSON.parse(process.argv[2])
const device = openDevice({ device: 'cuda' })
const reader = new TraceReader(process.env.MORA_SIMT_TRACE)

const { inUse } = device.memory()
const model = emptyModel(device, format)
const weightBytes = device.memory().inUse - inUse
model.gradientCheckpointing = checkpointing
model.addAdapter('traced', adapterConfig(parseMethod(method)))
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const batch = packedBatch(new Int32Array(tokens + 1), 1, tokens)

await step()
reader.next()
device.resetPeak()
await step()
console.log(JSON.stringify({ launches: reader.next(), peakBytes: device.memory().peak, weightBytes }))

async function step() {
  const { loss } = model.loss(batch)
  await loss.backward()
  optimizer.step({ learningRate: 1e-4, scaleGradients: 1 / tokens, maxGradNorm: 1 }).dispose()
  loss.dispose()
  await device.synchronize()
}
