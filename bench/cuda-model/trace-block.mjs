// Runs one Llama-2-7B block on the emulated CUDA device and prints what each phase launched as JSON. A process of its own,
// because the emulator writes one trace per process:
//   MORA_CUDA=emulated MORA_SIMT_COMPUTE=0 MORA_SIMT_TRACE=trace.jsonl \
//     node bench/cuda-model/trace-block.mjs '{"tokens":4096,"operator":"rotation","rank":8,"merge":true,"block":true}'
// Phases: `first`, `forward` and `backward` are the seven linear layers alone, `first` being a forward and a backward pass
// that also do what is done once per optimizer step; `block` is the whole block forward; `merge` merges every adapter. An
// operator of null is the frozen block. `windows` false: blocks are read as stored, aligned or not.

import { mora, openDevice, Parameter, scope, Tensor } from 'node-mora'
import {
  backwardFrom,
  LayerMaker,
  LinearInput,
  loadBinary,
  moraMethod,
  RotaryTables,
  record,
} from '../common/internals.mjs'
import { emptyBlock } from './llama.mjs'
import { TraceReader } from './trace.mjs'

const { tokens, operator, rank, merge = false, block: whole = false, windows = true } = JSON.parse(process.argv[2])
if (!windows) Object.assign(loadBinary(), { foldedSide: ({ side }) => side })
const device = openDevice({ device: 'cuda' })
const options = { device, dtype: /** @type {const} */ ('bfloat16') }
const reader = new TraceReader(process.env.MORA_SIMT_TRACE)

const block = emptyBlock(device)
const { mixer: attention, mlp } = block
const hiddenSize = attention.output.outFeatures
if (operator) {
  const adapter = mora({ rank, operator })
  for (const linear of block.linears()) {
    const maker = new LayerMaker(moraMethod, adapter, [linear])
    const layer = await maker.create({ layer: linear, device, adapter: 'traced' }, 0, linear.weight)
    linear.adapters.set('traced', { layer, active: true, scale: 1 })
  }
}
const adapters = block.linears().flatMap((linear) => linear.activeAdapters().map(({ layer }) => ({ linear, layer })))

// Stands before the block, so that every layer computes the gradient of its input.
const before = new Parameter('before', Tensor.zeros([1], { device }))
const input = (width) => record(Tensor.empty([tokens, width], options), [before], [], () => {})

/** @type {Record<string, any[]>} */
const phases = { first: Object.values(await pass()).flat(), ...(await pass()) }
if (whole) phases.block = await reader.phase(device, () => block.forward(input(hiddenSize), contextOf(tokens)))
if (merge) {
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  phases.merge = await reader.phase(device, () => {
    for (const { linear, layer } of adapters)
      layer.mergeInto(/** @type {Tensor} */ (linear.weight.floats), 1, nonFinite)
  })
}
console.log(JSON.stringify(phases))

/** Forward and backward passes of the layers that read one input; gradients of matrices are those of one micro-batch. */
async function pass() {
  for (const { layer } of adapters) for (const parameter of layer.parameters) parameter.zeroGrad()
  const layers = [
    { layer: attention.projections, width: hiddenSize },
    { layer: attention.output, width: attention.output.inFeatures },
    { layer: mlp.projections, width: hiddenSize },
    { layer: mlp.down, width: mlp.down.inFeatures },
  ]
  let results = []
  const forward = await reader.phase(device, () => {
    results = layers.map(({ layer, width }) => {
      const x = input(width)
      const y = layer.forward(new LinearInput(x))
      return { x, y, dY: Tensor.empty(y.shape, options) }
    })
  })
  const backward = await reader.phase(device, () => {
    for (const { y, dY } of results) scope(() => backwardFrom(y.node, dY, Tensor.empty))
  })
  for (const tensors of results) for (const tensor of Object.values(tensors)) tensor.dispose()
  return { forward, backward }
}

/** One document of all tokens. */
function contextOf(count) {
  const integers = (values) => Tensor.from(Int32Array.from(values), [values.length], { device, dtype: 'int32' })
  const { rotary } = /** @type {any} */ (block.plan.mixer)
  if (!rotary) throw new Error('Expected a block with rotary embeddings.')
  const positions = Int32Array.from({ length: count }, (_, i) => i)
  const tokens = { positions, onDevice: integers(positions), rowLengths: positions.map(() => count) }
  const input = new RotaryTables(rotary, 'float32', device).at(tokens)
  return { rotary: new Map([[rotary, input]]), offsets: integers([0, count]), dropout: null, int8: false }
}
