// Measures this machine's peaks: the speed of products at a model's own shapes, and of memory.
import { native } from './internals.mjs'

const repetitions = 3
const secondsEach = 0.12

const allForms = ['forward', 'dX', 'dW']

/**
 * Best GFLOP/s of each product in each of the `forms`, and best GB/s (bytes read and bytes written) of a copy too large for any
 * cache: `{ products: { qkv: { forward, dX, dW } }, best, bandwidth }`.
 */
export async function measurePeaks(device, dtype, products, forms = allForms) {
  const figures = {}
  for (const { name, rows, inFeatures, outFeatures } of products) {
    figures[name] = await productPeaks(device, dtype, name === 'head', [rows, inFeatures, outFeatures], forms)
  }
  const best = Math.max(...Object.values(figures).flatMap((figure) => Object.values(figure)))
  return { products: figures, best, bandwidth: await copyBandwidth(device) }
}

/** GFLOP/s of one product x [rows, in] W [out, in]ᵀ in each form. */
export async function productPeaks(device, dtype, floatOutput, [rows, inFeatures, outFeatures], forms = allForms) {
  const x = filled(device, dtype, [rows, inFeatures])
  const weight = filled(device, dtype, [outFeatures, inFeatures])
  const dY = filled(device, dtype, [rows, outFeatures])
  const y = native.empty(device, floatOutput ? 'float32' : dtype, [rows, outFeatures])
  const dX = native.empty(device, dtype, [rows, inFeatures])
  const dW = native.empty(device, 'float32', [outFeatures, inFeatures])
  const runs = {
    forward: () => native.matmul({ a: x, b: weight, transposeB: true, c: y }),
    dX: () => native.matmul({ a: dY, b: weight, c: dX }),
    dW: () => native.matmul({ a: dY, transposeA: true, b: x, c: dW }),
  }
  const flops = 2 * rows * inFeatures * outFeatures
  const peaks = {}
  for (const form of forms) peaks[form] = flops / (await bestSeconds(device, runs[form])) / 1e9
  for (const tensor of [x, weight, dY, y, dX, dW]) tensor.dispose()
  return peaks
}

/** GB/s, bytes read and bytes written, of a copy too large for any cache. */
export async function copyBandwidth(device) {
  const elements = 96 * 2 ** 20
  const [source, target] = [0, 1].map(() => filled(device, 'float32', [elements]))
  const seconds = await bestSeconds(device, () => native.copy(source, target, 1))
  source.dispose()
  target.dispose()
  return (2 * 4 * elements) / seconds / 1e9
}

/** GB/s of reading an array too large for any cache. */
export async function readBandwidth(device) {
  const elements = 128 * 2 ** 20
  const source = filled(device, 'float32', [elements])
  const count = native.empty(device, 'int32', [1])
  const seconds = await bestSeconds(device, () => native.countNonFinite(source, count, false))
  for (const tensor of [source, count]) tensor.dispose()
  return (4 * elements) / seconds / 1e9
}

function filled(device, dtype, shape) {
  const tensor = native.empty(device, dtype, shape)
  native.fill(tensor, 0.5)
  return tensor
}

/** The fastest of a few rounds, each long enough for the clock. */
async function bestSeconds(device, run) {
  const timed = async (count) => {
    const start = performance.now()
    for (let i = 0; i < count; i++) run()
    await device.synchronize()
    return (performance.now() - start) / 1000 / count
  }
  await timed(1)
  const count = Math.max(1, Math.min(1000, Math.round(secondsEach / (await timed(1)))))
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < repetitions; i++) best = Math.min(best, await timed(count))
  return best
}
