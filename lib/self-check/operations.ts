/** Operations with their gradients, in shapes that use whole vectors and remainders, several tiles, and packed documents. */
import { randomStream } from '../common/random.js'
import { type FloatDType, type NativeDevice, native, type WrittenBlocks } from '../native/addon.js'
import { activation, gatedActivation } from '../tensor/operations/activation.js'
import { cast, exp, log, mul, sqrt, tanh } from '../tensor/operations/arithmetic.js'
import { selfAttention } from '../tensor/operations/attention.js'
import { causalConvolution } from '../tensor/operations/convolution.js'
import { deltaGates, gatedDeltaRule } from '../tensor/operations/delta-rule.js'
import { crossEntropy, linearCrossEntropy } from '../tensor/operations/loss.js'
import { groupSpread, groupSum } from '../tensor/operations/mora.js'
import { layerNorm, rmsNorm } from '../tensor/operations/norm.js'
import { product } from '../tensor/operations/products.js'
import { softmax, sum } from '../tensor/operations/reductions.js'
import { sampleTokens } from '../tensor/operations/sampling.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { Check } from './check.js'
import { sampled, type Values } from './reference.js'

interface Setting {
  readonly device: NativeDevice
  readonly dtype: FloatDType
  /** An int32 tensor. */
  ints(...values: number[]): Tensor
}

/** A differentiable operation: inputs of these shapes have the dtype of the run, weights are float32. */
interface Operation {
  readonly inputs?: Readonly<Record<string, readonly number[]>>
  readonly weights?: Readonly<Record<string, readonly number[]>>
  forward(tensors: Readonly<Record<string, Tensor>>, setting: Setting): Tensor
}

/** Sizes of a product: rows, depth and columns. */
const PRODUCTS: readonly (readonly [number, number, number])[] = [
  [1, 70, 33],
  [5, 129, 40],
  [40, 300, 66],
  [150, 260, 140],
]

const products: Record<string, Operation> = Object.fromEntries(
  PRODUCTS.flatMap(([rows, depth, columns]) => [
    [
      `product of ${rows} rows`,
      { inputs: { a: [rows, depth], b: [depth, columns] }, forward: ({ a, b }) => product(a!, b!) },
    ],
    [
      `product of ${rows} rows, transposed`,
      {
        inputs: { a: [rows, depth], b: [columns, depth] },
        forward: ({ a, b }) => product(a!, b!, { transposeB: true }),
      },
    ],
  ]),
)

/** Where two packed documents of together 40 tokens start, and the end. */
const DOCUMENTS = [0, 13, 40] as const

const operations: Record<string, Operation> = {
  ...products,
  'batch of products': {
    inputs: { a: [3, 20, 50], b: [3, 50, 17] },
    forward: ({ a, b }) => product(a!, b!),
  },
  'RMS norm': {
    inputs: { x: [11, 130] },
    weights: { weight: [130] },
    forward: ({ x, weight }) => rmsNorm(x!, weight!, 1e-5, 1),
  },
  'layer norm': {
    inputs: { x: [11, 130] },
    weights: { weight: [130], bias: [130] },
    forward: ({ x, weight, bias }) => layerNorm(x!, weight!, bias!, 1e-5),
  },
  'functions of elements': {
    inputs: { x: [9, 37] },
    forward: ({ x }) => {
      const positive = exp(mul(x!, 0.5))
      return mul(tanh(x!), mul(log(positive), sqrt(positive)))
    },
  },
  ...Object.fromEntries(
    (['silu', 'gelu', 'geluTanh', 'relu'] as const).flatMap((f): [string, Operation][] => [
      [f, { inputs: { x: [9, 74] }, forward: ({ x }) => activation(x!, f) }],
      [`gated ${f}`, { inputs: { x: [9, 74] }, forward: ({ x }) => gatedActivation(x!, f) }],
    ]),
  ),
  softmax: { inputs: { x: [7, 133] }, forward: ({ x }) => softmax(x!) },
  'rotary embedding and attention': attention({ tokens: 40, window: null, softcap: null }),
  'attention with a window and a softcap': attention({ tokens: 40, window: 9, softcap: 20 }),
  'attention to many tokens': attention({ tokens: 300, window: null, softcap: null }),
  'cross-entropy': {
    inputs: { logits: [9, 211] },
    forward: ({ logits }, { ints }) => crossEntropy(logits!, ints(0, 210, 7, 64, -1, 5, 128, 100, 3)),
  },
  'head and cross-entropy': {
    inputs: { hidden: [9, 48] },
    weights: { head: [211, 48] },
    forward: ({ hidden, head }, { ints }) =>
      linearCrossEntropy(hidden!, head!, ints(0, 210, 7, 64, -1, 5, 128, 100, 3)),
  },
  convolution: {
    inputs: { x: [40, 37] },
    weights: { kernel: [37, 4], bias: [37] },
    forward: ({ x, kernel, bias }, { ints }) => causalConvolution(x!, kernel!, bias!, ints(...DOCUMENTS)),
  },
  'gated delta rule': {
    inputs: { qkv: [40, 2 * 2 * 8 + 4 * 12], a: [40, 4], b: [40, 4] },
    weights: { logRate: [4], bias: [4] },
    forward: ({ qkv, a, b, logRate, bias }, { ints }) => {
      const shape = { keyHeads: 2, valueHeads: 4, keySize: 8, valueSize: 12 }
      return gatedDeltaRule(qkv!, deltaGates(a!, b!, logRate!, bias!), shape, ints(...DOCUMENTS))
    },
  },
  "MoRA's groups": {
    inputs: { x: [9, 100] },
    forward: ({ x }) => {
      const z = groupSum(x!, { kind: 'tile', wrap: false, width: 100, side: 24 })
      return groupSpread(z, { kind: 'runs', wrap: false, width: 90, side: 24 })
    },
  },
}

function attention({
  tokens,
  window,
  softcap,
}: {
  tokens: number
  window: number | null
  softcap: number | null
}): Operation {
  const shape = { heads: 4, keyValueHeads: 2, headSize: 24 }
  return {
    inputs: { qkv: [tokens, 8 * 24] },
    forward: ({ qkv }, { device, ints }) => {
      const angles = Float32Array.from({ length: tokens * 12 }, (_, i) => Math.floor(i / 12) / 50 ** ((i % 12) / 12))
      const table = (f: (angle: number) => number) => Tensor.from(angles.map(f), [tokens, 12], { device })
      const offsets = [0, 13, tokens]
      const positions = ints(...Array.from({ length: tokens }, (_, i) => (i < 13 ? i : i - 13)))
      const rotary = { cosines: table(Math.cos), sines: table(Math.sin), positions }
      // A copy, since the rotation happens in place.
      return selfAttention(mul(qkv!, 1), shape, rotary, ints(...offsets), { scale: 0.2, window, softcap })
    },
  }
}

/** Float32 sums in another order differ by some units in the last place; bfloat16 has 8 bits. */
const TOLERANCE = { float32: 1e-5, bfloat16: 3e-2 } as const

/** Returns the operation's result and the gradient of each input and weight. */
async function run({ inputs = {}, weights = {}, forward }: Operation, name: string, setting: Setting): Promise<Values> {
  const { device, dtype } = setting
  const random = randomStream(1, 'self-check', name)
  const make = (shape: readonly number[]) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return Tensor.from(
      Float32Array.from({ length: count }, () => random.normal()),
      shape,
      { device },
    )
  }
  const parameters = Object.entries({ ...inputs, ...weights }).map(([key, shape]) => new Parameter(key, make(shape)))
  const read = async (tensor: Tensor) => sampled((await tensor.data()) as Float32Array)
  const values: Float32Array[] = []
  try {
    const [output, loss] = scope(() => {
      const tensors = parameters.map(
        (parameter) => [parameter.name, parameter.name in weights ? parameter : cast(parameter, dtype)] as const,
      )
      const y = forward(Object.fromEntries(tensors), setting)
      const factors = Tensor.from(
        Float32Array.from({ length: y.elements }, () => random.normal()),
        y.shape,
        y,
      )
      return [y, sum(mul(y, factors))]
    })
    values.push(await read(output))
    await loss.backward()
    output.dispose()
    loss.dispose()
    for (const { grad } of parameters) if (grad) values.push(await read(grad))
  } finally {
    for (const parameter of parameters) parameter.dispose()
  }
  return values
}

/** A matrix in blocks: its values, and products of one, some and many rows with it. */
async function blocks(format: WrittenBlocks, { device, dtype }: Setting): Promise<Values> {
  const random = randomStream(1, 'self-check', format)
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  const [features, width] = [40, 512]
  const bytes = native.quantise(format, normal(features * width), width, null, 1)
  const stored = native.fromArray(device, format, [features, width], bytes)
  const made = [stored]
  const results: Float32Array[] = []
  try {
    const values = native.empty(device, 'float32', [features, width])
    made.push(values)
    native.dequantise(stored, values)
    results.push(sampled((await values.read()) as Float32Array))
    for (const rows of [1, 5, 40]) {
      using x = Tensor.from(normal(rows * width), [rows, width], { device, dtype })
      using y = Tensor.empty([rows, features], x)
      native.matmul({ a: x.native, b: stored, transposeB: true, c: y.native })
      results.push(sampled((await y.data()) as Float32Array))
    }
  } finally {
    for (const tensor of made) tensor.dispose()
  }
  return results
}

const WRITTEN: readonly WrittenBlocks[] = [
  'q4_0',
  'q4_1',
  'q5_0',
  'q5_1',
  'q8_0',
  'q4_k',
  'q5_k',
  'q6_k',
  'iq4_nl',
  'iq4_xs',
  'mxfp4',
]

/** Tokens that are drawn from fixed logits. */
async function sampling({ device }: Setting): Promise<Values> {
  const random = randomStream(1, 'self-check', 'sampling')
  const [rows, vocabulary] = [24, 500]
  using logits = Tensor.from(
    Float32Array.from({ length: rows * vocabulary }, () => 2 * random.normal()),
    [rows, vocabulary],
    { device },
  )
  const choices = Array.from({ length: rows }, (_, row) => ({
    temperature: row % 4 === 0 ? 0 : 0.8,
    topK: row % 3 === 0 ? 40 : 0,
    topP: row % 2 === 0 ? 0.9 : 1,
    uniform: (row + 0.5) / rows,
  }))
  using ids = sampleTokens(logits, choices)
  return [Float32Array.from((await ids.data()) as Int32Array)]
}

export const operationChecks: readonly Check[] = (['float32', 'bfloat16'] as const).flatMap((dtype) => {
  const check = (name: string, compute: (setting: Setting) => Promise<Values>): Check => ({
    name: `${name}, ${dtype}`,
    tolerance: TOLERANCE[dtype],
    compute: (device) => {
      const ints = (...values: number[]) =>
        Tensor.from(Int32Array.from(values), [values.length], { device, dtype: 'int32' })
      return compute({ device, dtype, ints })
    },
  })
  return [
    ...Object.entries(operations).map(([name, operation]) => check(name, (setting) => run(operation, name, setting))),
    ...WRITTEN.map((format) => check(`products with ${format}`, (setting) => blocks(format, setting))),
    ...(dtype === 'float32' ? [check('sampling', sampling)] : []),
  ]
})
