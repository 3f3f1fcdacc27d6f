import { describe, expect, test } from 'vitest'
import { hira, hiraMethod } from '../../lib/adapters/methods/hira.js'
import { LoraLayer } from '../../lib/adapters/methods/lora.js'
import { MissLayer } from '../../lib/adapters/methods/miss.js'
import { type Operator, operators } from '../../lib/adapters/methods/mora.js'
import { MoraLayer } from '../../lib/adapters/methods/mora-layer.js'
import type { PermutationKey } from '../../lib/adapters/methods/permutation.js'
import { native } from '../../lib/native/addon.js'
import type { LayerAdapter } from '../../lib/nn/layer-adapter.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { recomputed } from '../../lib/tensor/checkpoint.js'
import { assemble } from '../../lib/tensor/destination.js'
import { activatedTimes, activation, dropout, gatedActivation } from '../../lib/tensor/operations/activation.js'
import { add, mul } from '../../lib/tensor/operations/arithmetic.js'
import { attentionTo, rotated, selfAttention } from '../../lib/tensor/operations/attention.js'
import { causalConvolution, shortConvolution } from '../../lib/tensor/operations/convolution.js'
import { deltaGates, gatedDeltaRule } from '../../lib/tensor/operations/delta-rule.js'
import { normHeads } from '../../lib/tensor/operations/head-norm.js'
import { embedding, gatherRows, sliceColumns } from '../../lib/tensor/operations/indexing.js'
import { addBias, factor, updatedLinear, weightProduct } from '../../lib/tensor/operations/linear.js'
import { crossEntropy, linearCrossEntropy } from '../../lib/tensor/operations/loss.js'
import { groupSpread, groupSum } from '../../lib/tensor/operations/mora.js'
import { addResidual, layerNorm, rmsNorm } from '../../lib/tensor/operations/norm.js'
import { splitColumns, splitGates } from '../../lib/tensor/operations/partition.js'
import { scaled, scaledBy } from '../../lib/tensor/operations/scaled.js'
import { dense } from '../../lib/tensor/operations/shaped.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { layerOf } from '../adapters/layer-of.js'
import { drawn, drawnIfEmulated } from '../drawn.js'
import { checkGradients, type GradientCase, gradientCase } from './gradients.js'
import { testDevice } from './harness.js'
import { recordedCopy } from './recorded-copy.js'

const integers = (...values: number[]): Tensor =>
  Tensor.from(Int32Array.from(values), [values.length], { device: testDevice(), dtype: 'int32' })
const longs = (...values: number[]): Tensor =>
  Tensor.from(BigInt64Array.from(values, BigInt), [values.length], { device: testDevice(), dtype: 'int64' })

/** Cosines and sines [positions, headSize / 2] of plain rotary embedding. */
function rotary(headSize: number, ...positions: number[]) {
  const half = headSize / 2
  const table = (of: (angle: number) => number) => {
    const values = Float32Array.from({ length: 16 * half }, (_, i) =>
      of(Math.floor(i / half) * 100 ** (-(i % half) / half)),
    )
    return Tensor.from(values, [16, half], { device: testDevice() })
  }
  return { cosines: table(Math.cos), sines: table(Math.sin), positions: integers(...positions) }
}

const layers: GradientCase[] = [
  gradientCase({
    name: 'linear over a frozen weight',
    inputs: { x: { shape: [3, 5], kind: 'activation' } },
    forward: ({ x }, constant) => weightProduct(x, weightOf(constant([7, 5]))),
  }),
  gradientCase({
    name: 'linear over a trained weight, with a bias',
    inputs: {
      x: { shape: [3, 5], kind: 'activation' },
      weight: { shape: [4, 5], kind: 'parameter' },
      bias: { shape: [4], kind: 'parameter' },
    },
    forward: ({ x, weight, bias }) => withBias(x, weight, bias),
  }),
  gradientCase({
    name: 'causalConvolution of three documents',
    inputs: {
      x: { shape: [9, 5], kind: 'activation' },
      kernel: { shape: [5, 4], kind: 'parameter' },
      bias: { shape: [5], kind: 'parameter' },
    },
    forward: ({ x, kernel, bias }) => causalConvolution(x, kernel, bias, integers(0, 6, 6, 9)),
  }),
  gradientCase({
    name: 'causalConvolution with a frozen kernel',
    inputs: { x: { shape: [7, 8], kind: 'activation' } },
    forward: ({ x }, constant) => causalConvolution(x, constant([8, 3], 'float32'), null, integers(0, 2, 7)),
  }),
  gradientCase({
    name: 'gatedDeltaRule of three documents, three value heads for each of two key heads',
    inputs: {
      qkv: { shape: [8, 2 * 2 * 3 + 6 * 2], kind: 'activation' },
      gates: {
        shape: [2, 8, 6],
        kind: 'parameter',
        values: (normal, i) => (i < 48 ? -0.3 * Math.abs(normal) : 1 / (1 + Math.exp(normal))),
      },
    },
    forward: ({ qkv, gates }) =>
      gatedDeltaRule(qkv, gates, { keyHeads: 2, valueHeads: 6, keySize: 3, valueSize: 2 }, integers(0, 5, 5, 8)),
  }),
  gradientCase({
    name: 'gatedDeltaRule with constant gates',
    inputs: { qkv: { shape: [70, 14], kind: 'activation' } },
    forward: ({ qkv }) => {
      const gates = Tensor.zeros([2, 70, 1], { device: testDevice() })
      native.fill(gates.view([70, 1], [1, 1], 70).native, 0.5)
      return gatedDeltaRule(qkv, gates, { keyHeads: 1, valueHeads: 1, keySize: 5, valueSize: 4 }, integers(0, 70))
    },
  }),
  gradientCase({
    name: 'parts of columns',
    inputs: { x: { shape: [3, 7], kind: 'activation' } },
    forward: ({ x }) => {
      const [first, second, third] = splitColumns(x, [3, 1, 3]) as [Tensor, Tensor, Tensor]
      return add(mul(dense(first), dense(third)), mul(dense(third), dense(second)))
    },
  }),
  gradientCase({
    name: 'gates behind the queries of heads',
    inputs: { x: { shape: [4, 2 * 2 * 3 + 2 * 3], kind: 'activation' } },
    forward: ({ x }) => {
      const [qkv, gates] = splitGates(x, { heads: 2, keyValueHeads: 1, headSize: 3 })
      const [queries, others] = splitColumns(qkv, [6, 6]) as [Tensor, Tensor]
      return add(mul(dense(queries), gates), mul(dense(others), dense(others)))
    },
  }),
  gradientCase({
    name: 'deltaGates',
    inputs: {
      a: { shape: [5, 3], kind: 'activation' },
      b: { shape: [5, 3], kind: 'activation' },
      logRate: { shape: [3], kind: 'parameter' },
      bias: { shape: [3], kind: 'parameter' },
    },
    forward: ({ a, b, logRate, bias }) => deltaGates(a, b, logRate, bias),
  }),
  gradientCase({
    name: 'shortConvolution of three documents',
    inputs: {
      x: { shape: [9, 15], kind: 'activation' },
      kernel: { shape: [5, 3], kind: 'parameter' },
      bias: { shape: [5], kind: 'parameter' },
    },
    forward: ({ x, kernel, bias }) => shortConvolution(x, kernel, bias, integers(0, 6, 6, 9)),
  }),
  gradientCase({
    name: 'shortConvolution with a frozen kernel',
    inputs: { x: { shape: [7, 24], kind: 'activation' } },
    forward: ({ x }, constant) => shortConvolution(x, constant([8, 4], 'float32'), null, integers(0, 2, 7)),
  }),
  gradientCase({
    name: 'shortConvolution of a constant',
    inputs: { kernel: { shape: [8, 4], kind: 'parameter' } },
    forward: ({ kernel }, constant) => shortConvolution(constant([7, 24]), kernel, null, integers(0, 2, 7)),
  }),
  gradientCase({
    name: 'two factors, scaled',
    inputs: {
      x: { shape: [4, 6], kind: 'activation' },
      a: { shape: [2, 6], kind: 'parameter' },
      b: { shape: [5, 2], kind: 'parameter' },
    },
    forward: ({ x, a, b }) => factor(factor(x, a), b, 0.5),
  }),
  gradientCase({
    name: 'rmsNorm',
    inputs: { x: { shape: [3, 8], kind: 'activation' }, weight: { shape: [8], kind: 'parameter' } },
    forward: ({ x, weight }) => rmsNorm(x, weight, 1e-3),
  }),
  gradientCase({
    name: 'rmsNorm of a constant',
    inputs: { weight: { shape: [9], kind: 'parameter' } },
    forward: ({ weight }, constant) => rmsNorm(constant([4, 9]), weight, 1e-3),
  }),
  gradientCase({
    name: 'rmsNorm with a frozen weight',
    inputs: { x: { shape: [3, 8], kind: 'activation' } },
    forward: ({ x }, constant) => rmsNorm(x, constant([8], 'float32'), 1e-3),
  }),
  gradientCase({
    name: 'rmsNorm of heads, with 1 + weight',
    inputs: { x: { shape: [3, 2, 6], kind: 'activation' }, weight: { shape: [6], kind: 'parameter' } },
    forward: ({ x, weight }) => rmsNorm(x, weight, 1e-3, 1),
  }),
  gradientCase({
    name: 'layerNorm',
    inputs: {
      x: { shape: [3, 8], kind: 'activation' },
      weight: { shape: [8], kind: 'parameter' },
      bias: { shape: [8], kind: 'parameter' },
    },
    forward: ({ x, weight, bias }) => layerNorm(x, weight, bias, 1e-3),
  }),
  gradientCase({
    name: 'layerNorm of a constant, with a trained bias alone',
    inputs: { bias: { shape: [9], kind: 'parameter' } },
    forward: ({ bias }, constant) => layerNorm(constant([4, 9]), constant([9], 'float32'), bias, 1e-3),
  }),
  gradientCase({
    name: 'layerNorm without bias',
    inputs: { x: { shape: [3, 8], kind: 'activation' }, weight: { shape: [8], kind: 'parameter' } },
    forward: ({ x, weight }) => layerNorm(x, weight, null, 1e-3),
  }),
  gradientCase({
    name: 'a linear layer that saves a norm, which is made again',
    inputs: {
      x: { shape: [3, 6], kind: 'activation' },
      norm: { shape: [6], kind: 'parameter' },
      weight: { shape: [5, 6], kind: 'parameter' },
    },
    forward: ({ x, norm, weight }) => weightProduct(rmsNorm(x, norm, 1e-3), weightOf(weight)),
  }),
  ...[
    { what: 'each head', query: 4, key: 4 },
    { what: 'all heads together', query: 16, key: 8 },
  ].map(({ what, query, key }) =>
    gradientCase({
      name: `normHeads over ${what}`,
      inputs: {
        qkv: { shape: [3, 32], kind: 'activation' },
        query: { shape: [query], kind: 'parameter' },
        key: { shape: [key], kind: 'parameter' },
      },
      forward: ({ qkv, query, key }) => {
        const settings = (weight: Tensor) => ({ weight, epsilon: 1e-3, weightOffset: 1 })
        return normHeads(qkv, 4, [
          { from: 0, heads: 4, norm: settings(query) },
          { from: 4, heads: 2, norm: settings(key) },
          { from: 6, heads: 2, norm: null },
        ])
      },
    }),
  ),
  gradientCase({
    name: 'normHeads of a constant',
    inputs: { query: { shape: [4], kind: 'parameter' } },
    forward: ({ query }, constant) => {
      const key = { weight: constant([4], 'float32'), epsilon: 1e-3, weightOffset: 0 }
      return normHeads(constant([3, 16]), 4, [
        { from: 0, heads: 2, norm: { ...key, weight: query } },
        { from: 2, heads: 1, norm: key },
        { from: 3, heads: 1, norm: null },
      ])
    },
  }),
  gradientCase({
    name: 'normHeads with values that are keys without a weight',
    inputs: { keys: { shape: [3, 8], kind: 'activation' }, weight: { shape: [4], kind: 'parameter' } },
    forward: ({ keys, weight }) => {
      const norm = { weight, epsilon: 1e-3, weightOffset: 0 }
      return normHeads(keys, 4, [
        { from: 0, heads: 2, norm },
        { from: 0, heads: 2, norm: { ...norm, weight: null } },
      ])
    },
  }),
  gradientCase({
    name: 'scaledBy',
    inputs: { x: { shape: [3, 5], kind: 'activation' } },
    forward: ({ x }, constant) => scaledBy(weightProduct(x, weightOf(constant([5, 5]))), constant([1], 'float32')),
  }),
  gradientCase({
    name: 'sliceColumns, twice and overlapping',
    inputs: { x: { shape: [3, 7], kind: 'activation' } },
    forward: ({ x }) => add(sliceColumns(x, 1, 5), sliceColumns(x, 3, 7)),
  }),
  gradientCase({
    name: 'activatedTimes',
    inputs: { gate: { shape: [3, 5], kind: 'activation' }, x: { shape: [3, 9], kind: 'activation' } },
    forward: ({ gate, x }) => activatedTimes(gate, sliceColumns(x, 2, 7), 'geluTanh'),
  }),
  gradientCase({
    name: 'scaled',
    inputs: { x: { shape: [3, 5], kind: 'activation' } },
    forward: ({ x }, constant) => scaled(weightProduct(x, weightOf(constant([5, 5]))), 0.3),
  }),
  gradientCase({
    name: 'addResidual',
    inputs: { x: { shape: [3, 5], kind: 'activation' }, y: { shape: [3, 5], kind: 'activation' } },
    forward: ({ x, y }, constant) => addResidual(weightProduct(x, weightOf(constant([5, 5]))), y),
  }),
  ...(['silu', 'gelu', 'geluTanh'] as const).flatMap((f) => [
    gradientCase({
      name: `${f}, gated`,
      inputs: { x: { shape: [3, 10], kind: 'activation' } },
      forward: ({ x }) => gatedActivation(x, f),
    }),
    gradientCase({
      name: f,
      inputs: { x: { shape: [3, 10], kind: 'activation' } },
      forward: ({ x }) => activation(x, f),
    }),
  ]),
  gradientCase({
    name: 'relu away from 0',
    inputs: { x: { shape: [3, 10], kind: 'activation', values: (normal) => normal + Math.sign(normal) } },
    forward: ({ x }) => activation(x, 'relu'),
  }),
  gradientCase({
    name: 'dropout',
    inputs: { x: { shape: [4, 9], kind: 'activation' } },
    forward: ({ x }) => dropout(x, longs(3, 1, 4, 1), { key: [5, 9], probability: 0.4 }),
  }),
  gradientCase({
    name: 'embedding of a trained table, ids repeated',
    inputs: { table: { shape: [5, 4], kind: 'parameter' } },
    forward: ({ table }) => embedding(weightOf(table), integers(1, 4, 1, 0), 'float32'),
  }),
  gradientCase({
    name: 'gatherRows',
    inputs: { x: { shape: [5, 3], kind: 'activation' } },
    forward: ({ x }) => gatherRows(x, [4, 0, 2]),
  }),
  gradientCase({
    name: 'selfAttention of two documents',
    inputs: { qkv: { shape: [7, (2 + 2 * 1) * 6], kind: 'activation' } },
    forward: ({ qkv }) => {
      const own = recordedCopy(qkv, Tensor.empty(qkv.shape, qkv))
      const shape = { heads: 2, keyValueHeads: 1, headSize: 6 }
      return selfAttention(own, shape, rotary(6, 0, 1, 2, 0, 1, 2, 3), integers(0, 3, 7))
    },
  }),
  ...[
    { name: 'with a window and a softcap', rotated: 6, softmax: { scale: 0.7, window: 2, softcap: 1.5 } },
    { name: 'that rotates a part of each head', rotated: 4, softmax: { scale: 0.4, window: null, softcap: null } },
    { name: 'without positions', rotated: 0, softmax: { scale: 0.4, window: 3, softcap: null } },
  ].map(({ name, rotated, softmax }) =>
    gradientCase({
      name: `selfAttention ${name}`,
      inputs: { qkv: { shape: [7, (2 + 2 * 1) * 6], kind: 'activation' } },
      forward: ({ qkv }) => {
        const own = recordedCopy(qkv, Tensor.empty(qkv.shape, qkv))
        const shape = { heads: 2, keyValueHeads: 1, headSize: 6 }
        const turns = rotated > 0 ? rotary(rotated, 0, 1, 2, 0, 1, 2, 3) : null
        return selfAttention(own, shape, turns, integers(0, 3, 7), softmax)
      },
    }),
  ),
  gradientCase({
    name: 'attention of two layers to the same keys and values',
    inputs: {
      first: { shape: [7, 2 * 6], kind: 'activation' },
      second: { shape: [7, 2 * 6], kind: 'activation' },
      keysValues: { shape: [7, 2 * 6], kind: 'activation' },
    },
    forward: ({ first, second, keysValues }) => {
      const shape = { heads: 2, keyValueHeads: 1, headSize: 6 }
      const turns = rotary(4, 0, 1, 2, 0, 1, 2, 3)
      const turned = (x: Tensor, heads: number) =>
        rotated(recordedCopy(x, Tensor.empty(x.shape, x)), heads, 6, turns, heads === 1 ? 'key' : 'query')
      const kv = turned(keysValues, 1)
      const offsets = integers(0, 3, 7)
      const attend = (q: Tensor, window: number | null) =>
        attentionTo(turned(q, 2), kv, shape, offsets, { scale: 0.7, window, softcap: null })
      return add(attend(first, 2), attend(second, null))
    },
  }),
  gradientCase({
    name: 'linearCrossEntropy of scaled and capped logits',
    inputs: { hidden: { shape: [4, 6], kind: 'activation' }, head: { shape: [7, 6], kind: 'parameter' } },
    forward: ({ hidden, head }) => linearCrossEntropy(hidden, head, integers(3, -1, 0, 6), { scale: 0.5, softcap: 2 }),
  }),
  gradientCase({
    name: 'linearCrossEntropy over a frozen head',
    inputs: { hidden: { shape: [4, 6], kind: 'activation' } },
    forward: ({ hidden }, constant) => linearCrossEntropy(hidden, constant([7, 6]), integers(3, -1, 0, 6)),
  }),
  gradientCase({
    name: 'linearCrossEntropy over a trained head',
    inputs: { hidden: { shape: [4, 6], kind: 'activation' }, head: { shape: [7, 6], kind: 'parameter' } },
    forward: ({ hidden, head }) => linearCrossEntropy(hidden, head, integers(3, -1, 0, 6)),
  }),
  gradientCase({
    name: 'crossEntropy of logits',
    inputs: { logits: { shape: [4, 7], kind: 'activation' } },
    forward: ({ logits }) => crossEntropy(logits, integers(3, -1, 0, 6)),
  }),
]

const scaledAdapters: GradientCase[] = (['rotation', 'sharing'] as const).map((operator) =>
  gradientCase({
    name: `MoRA, ${operator}, scaled`,
    inputs: { x: { shape: [3, 7], kind: 'activation' }, matrix: { shape: [4, 4], kind: 'parameter' } },
    forward: ({ x, matrix }) => adapted(x, matrix, operator, 9, -0.5),
  }),
)

function adapted(
  x: Tensor,
  matrix: Parameter,
  operator: Operator,
  outFeatures: number,
  scale: number,
  permutation: PermutationKey | null = null,
): Tensor {
  const layer = { name: 'layer', inFeatures: x.shape[1]!, outFeatures }
  const config = { operator, scale: 1, foldOutput: false, dropout: 0, permutation }
  const adapter = new MoraLayer(config, { layer, device: testDevice(), adapter: 'a' }, matrix)
  const target = Tensor.empty([x.shape[0]!, outFeatures], x)
  const y = adapter.forward(new LinearInput(x), scale, { target, accumulate: false })
  matrix.retain() // its owner frees it
  adapter.dispose()
  return y
}

// A change of rows 2 … of a weight beside another change of the same rows, and unchanged rows.
const joined: GradientCase[] = (['rotation', 'decoupling', 'truncation'] as const).map((operator) =>
  gradientCase({
    name: `a weight joined by MoRA, ${operator}, and LoRA`,
    inputs: {
      x: { shape: [3, 7], kind: 'activation' },
      matrix: { shape: [4, 4], kind: 'parameter' },
      a: { shape: [2, 7], kind: 'parameter' },
      b: { shape: [9, 2], kind: 'parameter' },
    },
    forward: ({ x, matrix, a, b }, constant) => {
      const layer = { layer: { name: 'layer', inFeatures: 7, outFeatures: 9 }, device: testDevice(), adapter: 'a' }
      const config = { operator, scale: 2, foldOutput: false, dropout: 0 }
      const input = new LinearInput(x)
      const updates = [new MoraLayer(config, layer, matrix), new LoraLayer(layer, 0, 0.5, a, b)].map((adapter) => ({
        from: 2,
        to: 11,
        ...adapter.asWeightUpdate(input, -0.5)!,
      }))
      return updatedLinear(x, weightOf(constant([12, 7])), updates)
    },
  }),
)

// Methods beside a frozen weight, and within the weight's own product. DoRA's gradients are not those of its output: the
// norm counts as a constant; see test/adapters/dora.test.ts.
const ofAdapter: GradientCase[] = [false, true].flatMap((within) => {
  const [rows, k, d, rank] = [4, 7, 5, 2]
  const where = within ? 'within the weight' : 'beside the weight'
  const options = { layer: { name: 'layer', inFeatures: k, outFeatures: d }, device: testDevice(), adapter: 'a' }
  const product = (x: Tensor, weight: Tensor, adapter: LayerAdapter): Tensor => {
    if (within)
      return updatedLinear(x, weightOf(weight), [
        { from: 0, to: d, ...adapter.asWeightUpdate!(new LinearInput(x), -0.5)! },
      ])
    const target = Tensor.empty([rows, d], x)
    return adapter.forward(new LinearInput(x), -0.5, { target, accumulate: false }, weightOf(weight))
  }
  const x = { shape: [rows, k], kind: 'activation' } as const
  const a = { shape: [rank, k], kind: 'parameter' } as const
  const b = { shape: [d, rank], kind: 'parameter' } as const
  return [
    gradientCase({
      name: `HiRA, ${where}`,
      inputs: { x, a, b },
      forward: (inputs, constant) =>
        product(
          inputs.x,
          constant([d, k]),
          layerOf(hiraMethod, hira(), options, { hira_A: inputs.a, hira_B: inputs.b }),
        ),
    }),
    gradientCase({
      name: `MiSS, ${where}`,
      inputs: { x, block: { shape: [d, 3], kind: 'parameter' } },
      forward: (inputs, constant) => product(inputs.x, constant([d, k]), new MissLayer(options, 0, inputs.block)),
    }),
  ]
})

function withBias(x: Tensor, weight: Parameter, bias: Parameter): Tensor {
  return assemble(
    [x.shape[0]!, weight.shape[0]!],
    [
      { from: 0, to: weight.shape[0]!, write: (into) => weightProduct(x, weightOf(weight), into) },
      { from: 0, to: weight.shape[0]!, write: (into) => addBias(bias, into) },
    ],
    x,
  )
}

const groups: GradientCase[] = (['tile', 'runs'] as const).map((kind) =>
  gradientCase({
    name: `groupSum and groupSpread of ${kind}`,
    inputs: { x: { shape: [3, 11], kind: 'activation' } },
    forward: ({ x }) => {
      const grouping = (width: number) => ({ kind, wrap: false, width, side: 4 }) as const
      return groupSpread(groupSum(x, { ...grouping(11), wrap: kind === 'tile' }), grouping(9))
    },
  }),
)

// Inputs, outputs, side: ragged, repeated and cut outputs, and more than all inputs in one block.
const adapters: GradientCase[] = operators.flatMap((operator) =>
  [
    [7, 5, 4],
    [5, 13, 4],
    [3, 4, 8],
  ].flatMap(([inFeatures, outFeatures, side]) =>
    [null, { seed: 1, cycle: 2 }].map((permutation) =>
      gradientCase({
        name: `MoRA, ${operator}, ${inFeatures} to ${outFeatures} with side ${side}${permutation ? ', permuted' : ''}`,
        inputs: {
          x: { shape: [3, inFeatures!], kind: 'activation' },
          matrix: { shape: [side!, side!], kind: 'parameter' },
        },
        forward: ({ x, matrix }) => adapted(x, matrix, operator, outFeatures!, 1, permutation),
      }),
    ),
  ),
)

// Blocks that the CUDA backend reads in aligned windows in bfloat16; their outputs repeat and end within a window.
const wide: GradientCase[] = (['rotation', 'decoupling', 'sharing', 'sharing-grouped'] as const).map((operator) =>
  gradientCase({
    name: `MoRA, ${operator}, 208 to 600 with side 202`,
    inputs: { x: { shape: [3, 208], kind: 'activation' }, matrix: { shape: [202, 202], kind: 'parameter' } },
    forward: ({ x, matrix }) => adapted(x, matrix, operator, 600, 1),
  }),
)

const structure: GradientCase[] = [
  gradientCase({
    name: 'assemble of parts beside and on top of each other',
    inputs: {
      x: { shape: [3, 4], kind: 'activation' },
      a: { shape: [2, 4], kind: 'parameter' },
      b: { shape: [5, 4], kind: 'parameter' },
      c: { shape: [2, 4], kind: 'parameter' },
    },
    forward: ({ x, a, b, c }) =>
      assemble(
        [3, 7],
        [
          { from: 0, to: 2, write: (into) => factor(x, a, 1, into) },
          { from: 2, to: 7, write: (into) => weightProduct(x, weightOf(b), into) },
          { from: 0, to: 2, write: (into) => factor(x, c, 2, into) },
        ],
        x,
      ),
  }),
  gradientCase({
    name: 'recomputed',
    inputs: { x: { shape: [3, 6], kind: 'activation' }, weight: { shape: [8, 6], kind: 'parameter' } },
    forward: ({ x, weight }) =>
      recomputed((inputs) => gatedActivation(weightProduct(inputs.x, weightOf(weight)), 'silu'), { x }, [weight], []),
  }),
  gradientCase({
    name: 'recomputed, of two inputs that others read too',
    inputs: { x: { shape: [3, 6], kind: 'activation' }, y: { shape: [3, 6], kind: 'activation' } },
    forward: ({ x, y }) => {
      const product = recomputed((inputs) => mul(inputs.x, inputs.y), { x, y }, [], [])
      return add(
        recomputed((inputs) => mul(inputs.product, inputs.y), { product, y }, [], []),
        x,
      )
    },
  }),
]

describe('gradients', () => {
  const some = drawn('gradients of wide matrices', wide, 1)
  const all = [...layers, ...groups, ...adapters, ...some, ...scaledAdapters, ...ofAdapter, ...joined, ...structure]
  for (const description of drawnIfEmulated('gradients', all, 40)) {
    test(description.name, () => checkGradients(description))
  }
})

test('recomputed have the same bits', async () => {
  const parameter = (shape: number[], seed: number) => {
    const values = Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.sin(seed + i))
    return new Parameter(`p${seed}`, Tensor.from(values, shape, { device: testDevice() }))
  }
  const [x, weight, head] = [parameter([5, 6], 1), parameter([8, 6], 2), parameter([9, 4], 3)]
  const body = (input: Tensor) => gatedActivation(weightProduct(input, weightOf(weight)), 'silu')
  const run = async (forward: (input: Tensor) => Tensor) => {
    const loss = scope(() => linearCrossEntropy(forward(x), head, integers(0, 8, 3, 4, 1)))
    await loss.backward()
    loss.dispose()
    const values = await Promise.all([x, weight, head].map((p) => p.grad!.data()))
    for (const p of [x, weight, head]) p.zeroGrad()
    return values
  }
  expect(await run((x) => recomputed((inputs) => body(inputs.x), { x }, [weight], []))).toEqual(await run(body))
  for (const p of [x, weight, head]) p.dispose()
})
