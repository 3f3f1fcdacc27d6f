/**
 * One adapted linear layer: y = x Wᵀ + f_decomp(M f_comp(x)) and its gradients, for every operator of the reference and
 * shapes with padding, cuts and repeats. Expected values come from the authors' implementation, in float64.
 */
import { afterAll, expect, test } from 'vitest'
import { moraTypes, type Operator, operators } from '../../lib/adapters/methods/mora.js'
import { MoraLayer } from '../../lib/adapters/methods/mora-layer.js'
import { squareSide } from '../../lib/adapters/methods/mora-operators.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { Linear } from '../../lib/nn/linear.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep, scope } from '../../lib/tensor/scope.js'
import { record } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { recordedCopy } from '../operations/recorded-copy.js'
import { describeGolden, type GoldenTensor, goldenJson, largestDifference, largestOf, readTensors } from './files.js'

interface LayerCase {
  name: string
  type: number
  in_features: number
  out_features: number
  r: number
  R: number
}

const device = testDevice()

/** A share of the largest value. Each is a sum of at most a few hundred float32 products. */
const tolerance = 1e-5
/** bfloat16 has 8 bits; x, W and M are rounded, and y twice. */
const bfloat16Tolerance = 2 ** -5
/** float16 has 11. */
const float16Tolerance = 2 ** -8

function operatorOf(type: number): Operator {
  return operators.find((name) => moraTypes[name] === type)!
}

function makeLayer(
  { type, in_features: inFeatures, out_features: outFeatures }: LayerCase,
  tensors: Tensors,
  dtype: FloatDType,
) {
  const weight = keep(tensorOf(tensors('W'), dtype))
  const linear = new Linear('layer', weightOf(weight), null)
  const config = { operator: operatorOf(type), scale: 1, foldOutput: false, dropout: 0 }
  const matrix = new Parameter('M', tensorOf(tensors('M'), 'float32'))
  const layer = new MoraLayer(
    config,
    { layer: { name: 'layer', inFeatures, outFeatures }, device, adapter: 'a' },
    matrix,
  )
  linear.adapters.set('a', { layer, active: true, scale: 1 })
  return { linear, layer, matrix, weight }
}

type Tensors = (name: string) => GoldenTensor

const tensorOf = ({ shape, values }: GoldenTensor, dtype: FloatDType): Tensor =>
  Tensor.from(values, shape, { device, dtype })

/** A scalar whose gradient with respect to y is dY. */
function against(y: Tensor, dY: Tensor): Tensor {
  const total = Tensor.zeros([1], { device })
  return record(total, [y], [dY], (_, [gradient], [target]) => target!.pass(gradient!))
}

async function computed(golden: LayerCase, tensors: Tensors, dtype: FloatDType) {
  const { linear, layer, matrix, weight } = makeLayer(golden, tensors, dtype)
  const x = new Parameter('x', tensorOf(tensors('x'), 'float32'))
  const { loss, y } = scope(() => {
    const input = recordedCopy(x, Tensor.empty(x.shape, { device, dtype }))
    const output = linear.forward(new LinearInput(input))
    return { y: output, loss: against(output, tensorOf(tensors('dY'), dtype)) }
  })
  await loss.backward()
  const read = async (tensor: Tensor) => (await tensor.data()) as Float32Array
  const result = { y: await read(y), dX: await read(x.grad!), dM: await read(matrix.grad!) }
  for (const tensor of [loss, y, x, weight]) tensor.dispose()
  layer.dispose()
  return result
}

function expectNear(got: Float32Array, wanted: Float32Array, allowed: number, what: string): void {
  expect(largestDifference(got, wanted) / largestOf(wanted), `${what}: error, of the largest value`).toBeLessThan(
    allowed,
  )
}

const cases = goldenJson<LayerCase[]>('layer/index.json')

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

test("the index names all of the reference's operators", () => {
  expect(new Set(cases.map(({ type }) => type))).toEqual(new Set([1, 2, 3, 4, 6]))
})

for (const golden of cases) {
  describeGolden('layer', [`${golden.name}.safetensors`], (_, path) => {
    const all = readTensors(path)
    const tensors: Tensors = (name) => all.get(name)!
    /** x Wᵀ + delta in float64. */
    const y = (): Float32Array => {
      const [x, w, delta] = [tensors('x'), tensors('W'), tensors('delta')]
      const [k, d] = [golden.in_features, golden.out_features]
      return delta.values.map((value, i) => {
        const [t, j] = [Math.floor(i / d), i % d]
        let sum = value
        for (let c = 0; c < k; c++) sum += x.values[t * k + c]! * w.values[j * k + c]!
        return sum
      })
    }

    test("the square matrix has the reference's side", () => {
      const { in_features: k, out_features: d, r, R, type } = golden
      expect(squareSide(k, d, r, operatorOf(type))).toBe(R)
      expect(tensors('M').shape).toEqual([R, R])
    })

    test('y, dX and dM in float32', async () => {
      const got = await computed(golden, tensors, 'float32')
      expectNear(got.y, y(), tolerance, 'y')
      expectNear(got.dX, tensors('dX').values, tolerance, 'dX')
      expectNear(got.dM, tensors('dM').values, tolerance, 'dM')
    })

    test('the part of the adapter alone in float32', async () => {
      const { layer, weight } = makeLayer(golden, tensors, 'float32')
      const delta = scope(() => {
        const target = Tensor.empty([tensors('x').shape[0]!, golden.out_features], { device })
        return layer.forward(new LinearInput(tensorOf(tensors('x'), 'float32')), 1, { target, accumulate: false })
      })
      expectNear((await delta.data()) as Float32Array, tensors('delta').values, tolerance, 'delta')
      for (const tensor of [delta, weight]) tensor.dispose()
      layer.dispose()
    })

    test.each([
      ['bfloat16', bfloat16Tolerance],
      ['float16', float16Tolerance],
    ] as const)('y, dX and dM in %s', async (dtype, allowed) => {
      const got = await computed(golden, tensors, dtype)
      expectNear(got.y, y(), allowed, 'y')
      expectNear(got.dX, tensors('dX').values, allowed, 'dX')
      expectNear(got.dM, tensors('dM').values, allowed, 'dM')
    })

    const deltaW = all.get('deltaW')
    if (deltaW)
      test('merging adds ΔW', async () => {
        const { layer, weight } = makeLayer(golden, tensors, 'float32')
        const nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
        layer.mergeInto(weight, 1, nonFinite)
        const merged = (await weight.data()) as Float32Array
        const [w, delta] = [tensors('W').values, deltaW.values]
        expectNear(
          merged,
          w.map((value, i) => value + delta[i]!),
          1e-6,
          'W + ΔW',
        )
        expect(await nonFinite.item()).toBe(0)
        for (const tensor of [weight, nonFinite]) tensor.dispose()
        layer.dispose()
      })

    test('the merged layer computes the same as the adapted one', async () => {
      const { linear, layer, weight } = makeLayer(golden, tensors, 'float32')
      const nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
      linear.adapters.get('a')!.active = false
      layer.mergeInto(weight, 1, nonFinite)
      const merged = scope(() => linear.forward(new LinearInput(tensorOf(tensors('x'), 'float32'))))
      expectNear((await merged.data()) as Float32Array, y(), tolerance, 'y')
      for (const tensor of [merged, weight, nonFinite]) tensor.dispose()
      layer.dispose()
    })
  })
}
