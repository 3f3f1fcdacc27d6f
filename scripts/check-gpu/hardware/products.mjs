/** Products that cuBLAS may handle differently from its stand-in: interleaved batches, one row or column, TF32. */
import { native } from '../../../bench/common/internals.mjs'
import { relative, uniform } from './values.mjs'

export function casesOf({ tiny, device, cpu }) {
  const batches = tiny
    ? [{ B: 3, m: 5, n: 8, k: 16 }]
    : [
        { B: 16, m: 4096, n: 256, k: 256 },
        { B: 3, m: 100, n: 1448, k: 1448 },
      ]
  // cuBLAS once failed above 65,535 tiles.
  const lengths = tiny ? [70] : [2 ** 24 + 8, 2 ** 27]
  const sides = tiny ? [16, 32] : [8, 16, 64, 128, 1024]
  return [
    ...batches.flatMap((sizes) =>
      ['bfloat16', 'float32'].flatMap((dtype) =>
        [false, true].map((accumulate) => interleaved(device, cpu, sizes, dtype, accumulate)),
      ),
    ),
    ...lengths.flatMap((length) => ['float32', 'bfloat16'].map((dtype) => column(device, length, dtype))),
    ...sides.map((side) => tf32(device, side)),
  ]
}

/** y_b = x_b w_bᵀ for batches whose rows lie side by side, as the sections of MoRA's rotation do. */
function interleaved(device, cpu, { B, m, n, k }, dtype, accumulate) {
  const name = `${B} products ${m}x${n}x${k} side by side, ${dtype}${accumulate ? ', added' : ''}`
  const resultOf = (held, on) => {
    const x = held.from(on, dtype, [m, B * k], uniform(m * B * k, 1))
    const w = held.from(on, dtype, [B, n, k], uniform(B * n * k, 2))
    const y = held.from(on, dtype, [m, B * n], uniform(m * B * n, 3))
    const byBatch = (tensor, width) => held.view(tensor, [B, m, width], [width, B * width, 1]).native
    native.matmul({ a: byBatch(x, k), b: w.native, transposeB: true, c: byBatch(y, n), accumulate })
    return y.data()
  }
  return {
    name,
    bytes: 4 * B * (m * k + n * k + m * n),
    async run(held) {
      const apart = relative(await resultOf(held, device), await resultOf(held, cpu))
      return { apart, allowed: dtype === 'bfloat16' ? 2 ** -7 : 2 ** -18 }
    },
  }
}

/** A column times a 1x1 matrix, as the loss's gradient is scaled: each result is one product, rounded once. */
function column(device, length, dtype) {
  const repeated = 4096
  const factor = 1.5
  return {
    name: `${length}x1x1, ${dtype}`,
    bytes: 3 * 4 * length,
    async run(held) {
      const values = uniform(Math.min(length, repeated), 4)
      const source = held.from(device, dtype, [values.length], values)
      const a = held.empty(device, dtype, [length])
      for (let from = 0; from < length; from += repeated) {
        const count = Math.min(repeated, length - from)
        native.copy(held.view(source, [count]).native, held.view(a, [count], [1], from).native, 1)
      }
      const b = held.from(device, dtype, [1, 1], [factor])
      const c = held.empty(device, dtype, [length])
      native.fill(c.native, Number.NaN)
      const flat = (tensor) => held.view(tensor, [length, 1]).native
      native.matmul({ a: flat(a), b: b.native, c: flat(c) })
      const expected = Array.from(await source.data(), (value) => Math.fround(value * factor))
      const most = repeated * 16
      let apart = 0
      // The ends, and pieces between: all of it would take minutes to compare.
      for (let from = 0; from < length; from += Math.max(most, Math.floor(length / 64 / repeated) * repeated)) {
        const count = Math.min(most, length - from)
        const piece = await held.view(c, [count], [1], from).data()
        apart = Math.max(
          apart,
          relative(
            piece,
            Array.from(piece, (_, i) => expected[(from + i) % repeated]),
          ),
        )
      }
      return { apart, allowed: dtype === 'bfloat16' ? 2 ** -8 : 0 }
    },
  }
}

/** TF32 keeps 10 bits of fraction: it rounds this to 1. */
const finer = 1 + 2 ** -12

/** Full float32 unless TF32 is allowed; then large products round, and small ones may. */
function tf32(device, side) {
  const product = async (held, allow) => {
    const elements = side * side
    const a = held.from(device, 'float32', [side, side], new Float32Array(elements).fill(finer))
    const eye = Float32Array.from({ length: elements }, (_, i) => (i % (side + 1) === 0 ? 1 : 0))
    const b = held.from(device, 'float32', [side, side], eye)
    const c = held.empty(device, 'float32', [side, side])
    device.setAllowTf32(allow)
    native.matmul({ a: a.native, b: b.native, c: c.native })
    device.setAllowTf32(false)
    return new Set(await c.data())
  }
  return {
    name: `${side}x${side}x${side} with and without TF32`,
    bytes: 6 * 4 * side * side,
    async run(held) {
      const [full, rounded] = [await product(held, false), await product(held, true)]
      const only = (values, value) => values.size === 1 && values.has(value)
      const mayBeFull = side < 1024 && only(rounded, finer)
      const right = only(full, finer) && (only(rounded, 1) || mayBeFull)
      return { apart: right ? 0 : 1, allowed: 0, what: only(rounded, 1) ? 'TF32 where allowed' : 'never TF32' }
    },
  }
}
