// Runs the mixer of one block of a checkpoint's shapes on the emulated CUDA device and prints what its forward and backward
// passes launched as JSON. A process of its own, because the emulator writes one trace per process:
//   MORA_CUDA=emulated MORA_SIMT_COMPUTE=0 MORA_SIMT_TRACE=trace.jsonl \
//     node bench/cuda-model/trace-mixer.mjs '{"checkpoint":"Qwen/Qwen3.5-4B","block":0,"tokens":4096,"trained":"adapters"}'
// `trained`: `nothing` (gradients pass through), `adapters` of LoRA on every linear layer beside frozen weights, or `all` weights.
// The second of two passes is printed: the first also makes the parameters' gradients.
import { lora, openDevice, Parameter, scope, Tensor } from 'node-mora'
import {
  backwardFrom,
  DecoderBlock,
  LayerMaker,
  loraMethod,
  parseConfig,
  record,
  Weights,
} from '../common/internals.mjs'
import { CHECKPOINTS } from '../families/checkpoints.mjs'
import { TraceReader } from './trace.mjs'

const { checkpoint, block, tokens, trained } = JSON.parse(process.argv[2])
const device = openDevice({ device: 'cuda' })
const options = { device, dtype: /** @type {const} */ ('bfloat16') }
const reader = new TraceReader(process.env.MORA_SIMT_TRACE)

const config = parseConfig(CHECKPOINTS[checkpoint].config, checkpoint)
const weights = new Weights({ config, loadInto: () => {} }, device, 'bfloat16')
const { mixer } = new DecoderBlock(config.network.blocks[block], weights)
if (trained === 'all') trainAll()
if (trained === 'adapters') await addAdapters()

// Stands before the mixer, so that the gradient of its input is computed.
const before = new Parameter('before', Tensor.zeros([1], { device }))
const width = mixer.output.outFeatures
const offsets = Tensor.from(Int32Array.of(0, tokens), [2], { device, dtype: 'int32' })
const context = { rotary: new Map(), offsets, dropout: null, int8: false }

await pass()
console.log(JSON.stringify(await pass()))

function trainAll() {
  for (const slot of mixer.slots)
    if (!slot.isConstant) slot.standIn(new Parameter(slot.name, Tensor.zeros(slot.own.shape, { device })))
}

async function addAdapters() {
  for (const linear of mixer.linears()) {
    const maker = new LayerMaker(loraMethod, lora({ rank: 8 }), [linear])
    const layer = await maker.create({ layer: linear, device, adapter: 'traced' }, 0, linear.weight)
    linear.adapters.set('traced', { layer, active: true, scale: 1 })
  }
}

async function pass() {
  /** @type {any} */
  let results
  const forward = await reader.phase(device, () => {
    const x = record(Tensor.empty([tokens, width], options), [before], [], () => {})
    const y = mixer.forward(x, context, null)
    results = { x, y, dY: Tensor.empty(y.shape, options) }
  })
  const backward = await reader.phase(device, () => scope(() => backwardFrom(results.y.node, results.dY, Tensor.empty)))
  for (const tensor of Object.values(results)) tensor.dispose()
  return { forward, backward }
}
