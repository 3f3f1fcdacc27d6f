/** Causal convolutions, LFM2's short ones and gated delta nets against PyTorch in float64: whole documents, and their rows one after the other. */
import { afterAll, describe, expect, test } from 'vitest'
import { DeltaNet } from '../../lib/models/network/delta-net.js'
import type { NetworkWeights } from '../../lib/models/network/linear-layers.js'
import type { Mixer, PastTokens } from '../../lib/models/network/mixer.js'
import { ShortConvolution } from '../../lib/models/network/short-convolution.js'
import { activation } from '../../lib/tensor/operations/activation.js'
import { mul } from '../../lib/tensor/operations/arithmetic.js'
import { causalConvolution, convolutionAfter } from '../../lib/tensor/operations/convolution.js'
import { sum } from '../../lib/tensor/operations/reductions.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep, scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import {
  type GoldenTensor,
  goldenJson,
  goldenPath,
  lacksGolden,
  largestDifference,
  largestOf,
  readTensors,
} from './files.js'

interface Case {
  /** Lengths of the packed documents. */
  documents: number[]
  kernel: number
  activation?: 'silu' | null
  startState?: boolean
  /** Of delta nets. */
  keyHeads: number
  valueHeads: number
  keyDim: number
  valueDim: number
  normEps: number
}

const FOLDER = 'families3/delta'
const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const lacking = lacksGolden(FOLDER)
const cases = lacking === null ? goldenJson<Record<string, Case>>(`${FOLDER}/delta.json`) : {}
const tensors = lacking === null ? readTensors(goldenPath(`${FOLDER}/delta.safetensors`)) : new Map()
needing(lacking).test('the golden data has cases', () => expect(tensors.size).toBeGreaterThan(100))

/** Ten times as far as PyTorch in float32 is, relative to the largest element. */
const toleranceOf = (name: string): number => (name.startsWith('deltanet/') ? 2e-4 : 3e-6)

const casesOf = (kind: string) => Object.entries(cases).filter(([name]) => name.startsWith(kind))

const golden = (name: string): GoldenTensor | undefined => tensors.get(name)

const onDevice = ({ values, shape }: GoldenTensor): Tensor => Tensor.from(values, shape, { device })

const parameterOf = (name: string, tensor: GoldenTensor): Parameter => new Parameter(name, onDevice(tensor))

const startsOf = (documents: readonly number[]): number[] =>
  [0, ...documents].map((_, i) => documents.slice(0, i).reduce((start, length) => start + length, 0))

const integers = (values: readonly number[]): Tensor =>
  Tensor.from(Int32Array.from(values), [values.length], { device, dtype: 'int32' })

function expectNear(name: string, got: ArrayLike<number>, wanted: ArrayLike<number>, what: string): void {
  expect(largestDifference(got, wanted) / largestOf(wanted), what).toBeLessThan(toleranceOf(name))
}

/** Computes y of a batch, and compares it, and the gradients of Σ y · d_y, with the golden ones. */
async function checkWhole(
  name: string,
  compute: () => Tensor,
  parameters: readonly Parameter[],
  gradientOf = (key: string): ArrayLike<number> => golden(`${name}/grad_${key}`)!.values,
): Promise<void> {
  const [y, loss] = scope(() => {
    const result = compute()
    return [result, sum(mul(result, onDevice(golden(`${name}/d_y`)!)))]
  })
  expectNear(name, (await y.data()) as Float32Array, golden(`${name}/y`)!.values, 'y')
  y.dispose()
  await loss.backward()
  loss.dispose()
  for (const { name: key, grad } of parameters)
    expectNear(name, await grad!.data(), gradientOf(key), `gradient of ${key}`)
}

/** Computes y of each document in pieces: one row, two, three and so on. Returns all rows. */
async function inPieces(
  x: Tensor,
  { documents }: Case,
  begin: () => { compute: (rows: Tensor) => Tensor; end: () => Promise<void> },
): Promise<number[]> {
  const all: number[] = []
  for (const [document, start] of startsOf(documents).slice(0, -1).entries()) {
    const { compute, end } = begin()
    const to = start + documents[document]!
    for (let from = start, count = 1; from < to; from += count++) {
      using y = noGrad(() => scope(() => compute(x.rows(from, Math.min(from + count, to)))))
      all.push(...((await y.data()) as Float32Array))
    }
    await end()
  }
  return all
}

describe.each(casesOf('conv/'))('%s', (name, settings) => {
  const { documents, kernel: length, startState } = settings
  const bias = golden(`${name}/bias`)
  const act = (y: Tensor) => (settings.activation ? activation(y, settings.activation) : y)

  /** The golden gradient without the part of the last inputs, which also have one (d_final). */
  const gradientOf = (key: string): ArrayLike<number> => {
    const { values, shape } = golden(`${name}/grad_${key}`)!
    if (key !== 'x') return values
    const [final, channels, left] = [golden(`${name}/d_final`)!.values, shape[1]!, length - 1]
    const rest = Float32Array.from(values)
    for (const [document, end] of startsOf(documents).slice(1).entries())
      for (let back = 1; back <= Math.min(left, documents[document]!); back++)
        for (let c = 0; c < channels; c++)
          rest[(end - back) * channels + c]! -= final[(document * channels + c) * left + left - back]!
    return rest
  }

  if (!startState)
    test('whole, with gradients', async () => {
      const parameters = ['x', 'weight', ...(bias ? ['bias'] : [])].map((key) =>
        parameterOf(key, golden(`${name}/${key}`)!),
      )
      const [x, kernel, shift = null] = parameters as [Parameter, Parameter, Parameter?]
      const whole = () => act(causalConvolution(x, kernel, shift, integers(startsOf(documents))))
      await checkWhole(name, whole, parameters, gradientOf)
      for (const parameter of parameters) parameter.dispose()
    })

  test('in pieces, after a state', async () => {
    const [x, kernel] = [onDevice(golden(`${name}/x`)!), onDevice(golden(`${name}/weight`)!)]
    const shift = bias ? onDevice(bias) : null
    const channels = x.shape[1]!
    const finals: number[] = []
    const got = await inPieces(x, settings, () => {
      const state = Tensor.zeros([1, length - 1, channels], { device })
      const byChannel = () => state.view([channels, length - 1], [1, channels])
      if (startState) scope(() => byChannel().copyFrom(onDevice(golden(`${name}/state`)!)))
      return {
        compute: (rows) => act(convolutionAfter(state, rows, kernel, shift)),
        end: async () => {
          using final = byChannel()
          finals.push(...((await final.data()) as Float32Array))
          state.dispose()
        },
      }
    })
    expectNear(name, got, golden(`${name}/y`)!.values, 'y')
    expect(finals).toEqual([...golden(`${name}/final`)!.values])
    for (const tensor of [x, kernel, shift]) tensor?.dispose()
  })
})

type Weights = Pick<NetworkWeights, 'weight' | 'bias' | 'float32' | 'fused'>

function shortConvolution(name: string, width: number, { kernel }: Case, weights: Weights): Mixer {
  const bias = golden(`${name}/conv.bias`) !== undefined
  const plan = {
    kind: 'shortConvolution',
    projections: [{ name: 'in_proj', outFeatures: 3 * width, inFeatures: width, bias }],
    convolution: { name: 'conv', channels: width, length: kernel, bias },
    output: { name: 'out_proj', outFeatures: width, inFeatures: width, bias },
  } as const
  return new ShortConvolution(plan, weights)
}

function deltaNet(_: string, width: number, settings: Case, weights: Weights): Mixer {
  const { keyHeads, valueHeads, keyDim: keySize, valueDim: valueSize, kernel: length, normEps: epsilon } = settings
  const [values, channels] = [valueHeads * valueSize, 2 * keyHeads * keySize + valueHeads * valueSize]
  const linear = (name: string, outFeatures: number, inFeatures = width) => {
    return { name, outFeatures, inFeatures, bias: false }
  }
  const plan = {
    kind: 'deltaNet',
    shape: { keyHeads, valueHeads, keySize, valueSize },
    projections: [
      linear('in_proj_qkv', channels),
      linear('in_proj_z', values),
      linear('in_proj_b', valueHeads),
      linear('in_proj_a', valueHeads),
    ],
    convolution: { name: 'conv1d', channels, length, bias: false },
    logRate: { name: 'A_log', size: valueHeads },
    stepBias: { name: 'dt_bias', size: valueHeads },
    norm: { name: 'norm', kind: 'rms', size: valueSize, epsilon, weightOffset: 0 },
    output: linear('out_proj', width, values),
  } as const
  return new DeltaNet(plan, weights)
}

describe.each([
  ...casesOf('shortconv/').map(([name, settings]) => [name, settings, shortConvolution] as const),
  ...casesOf('deltanet/qwen3_5-').map(([name, settings]) => [name, settings, deltaNet] as const),
])('%s', (name, settings, mixerOf) => {
  const width = golden(`${name}/x`)!.shape[1]!

  const load = (key: string): Tensor => keep(onDevice(golden(`${name}/${key}`)!))
  const weights: Weights = {
    weight: (key) => weightOf(load(key)),
    bias: load,
    float32: load,
    fused: (keys) => ({ whole: null, parts: keys.map((key) => weightOf(load(key))) }),
  }
  const make = () => mixerOf(name, width, settings, weights)
  const contextOf = (documents: readonly number[]) => ({
    rotary: new Map(),
    offsets: integers(startsOf(documents)),
    dropout: null,
    int8: false,
  })

  test('whole, with gradients', async () => {
    const mixer = make()
    const trained = mixer.slots.map((slot) => {
      const parameter = parameterOf(slot.name, golden(`${name}/${slot.name}`)!)
      slot.replaceOwn(parameter)
      return parameter
    })
    const x = parameterOf('x', golden(`${name}/x`)!)
    await checkWhole(name, () => mixer.forward(x, contextOf(settings.documents), null), [x, ...trained])
    for (const parameter of [x, ...trained]) parameter.dispose()
  })

  test('in pieces, after a state', async () => {
    const mixer = make()
    const x = onDevice(golden(`${name}/x`)!)
    const got = await inPieces(x, settings, () => {
      const memory = mixer.createMemory({ capacity: 1, slots: 1, dtype: 'float32', device })
      return {
        compute: (rows) => {
          const offsets = integers([0, rows.shape[0]!])
          const sequences = [{ from: 0, to: rows.shape[0]!, slot: 0 }]
          const places = { rows: offsets, queryOffsets: offsets, keyOffsets: offsets, keyRows: null }
          const past: PastTokens = { memory, ...places, sequences }
          return mixer.forward(rows, contextOf([rows.shape[0]!]), past)
        },
        end: async () => {
          for (const state of memory.states) state.dispose()
        },
      }
    })
    expectNear(name, got, golden(`${name}/y`)!.values, 'y')
    x.dispose()
    for (const { own } of mixer.slots) own.dispose()
  })
})
