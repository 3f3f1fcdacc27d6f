/** Tensors of more than 2^31 elements: rows gathered, converted, added, summed and scattered, all of it exact. */
import { native } from '../../../bench/common/internals.mjs'

export function casesOf({ tiny, device }) {
  const columns = tiny ? 32 : 4096
  const rows = tiny ? 150 : 2 ** 31 / columns + 3
  return ['float16', 'bfloat16'].map((dtype) => large(device, rows, columns, dtype))
}

/** Prime, so that no power of 2 hides a wrapped index. */
const kinds = 127

function large(device, rows, columns, target) {
  const elements = rows * columns
  return {
    name: `${rows}x${columns} from bfloat16 to ${target}: gather, copy, add, sum, scatter`,
    bytes: 2 * 2 * elements,
    async run(held) {
      // Small integers, which every type has and whose sums are exact.
      const value = (kind, column) => ((kind * 31 + column * 7) % 17) - 8
      const table = Float32Array.from({ length: kinds * columns }, (_, i) =>
        value(Math.floor(i / columns), i % columns),
      )
      const kindOf = (row) => (row * 7) % kinds
      const ids = Int32Array.from({ length: rows }, (_, row) => kindOf(row))
      const x = held.empty(device, 'bfloat16', [rows, columns])
      const y = held.empty(device, target, [rows, columns])
      const kindsOfRows = held.from(device, 'int32', [rows], ids)
      native.gatherRows(held.from(device, 'bfloat16', [kinds, columns], table).native, kindsOfRows.native, x.native)
      native.copy(x.native, y.native, 1)
      native.add(x.native, y.native, 2)

      const sums = held.empty(device, 'float32', [2])
      const nonFinite = held.empty(device, 'int32', [1])
      native.sum(y.native, held.view(sums, [1]).native, false)
      native.countNonFinite(y.native, nonFinite.native, false)

      // Around every multiple of 2^31 bytes and elements, and the ends.
      const edges = [0, 2 ** 30 / columns, 2 ** 31 / columns, rows - 1].flatMap((row) => [row - 1, row, row + 1])
      const chosen = [...new Set(edges.map(Math.round))].filter((row) => row >= 0 && row < rows)
      const at = held.from(device, 'int32', [chosen.length], Int32Array.from(chosen))
      const found = held.empty(device, target, [chosen.length, columns])
      native.gatherRows(y.native, at.native, found.native)
      const expected = chosen.flatMap((row) => Array.from({ length: columns }, (_, c) => 3 * value(kindOf(row), c)))
      const wrong = (values, wanted) => values.reduce((count, v, i) => count + (v === wanted[i] ? 0 : 1), 0)
      let apart = wrong(await found.data(), expected)

      // One row more or less would show: it is far above the sum's rounding in float32.
      const rowSums = Array.from({ length: kinds }, (_, kind) => rowSum(table, kind, columns))
      const total = 3 * ids.reduce((sum, kind) => sum + rowSums[kind], 0)
      if (Math.abs((await sums.data())[0] - total) > 2 ** -23 * Math.abs(total)) apart++
      apart += await nonFinite.item()

      const ones = held.from(device, target, [chosen.length, columns], new Float32Array(expected.length).fill(1))
      native.scatterRows(ones.native, at.native, y.native)
      native.gatherRows(y.native, at.native, found.native)
      apart += wrong(await found.data(), new Float32Array(expected.length).fill(1))
      native.sum(y.native, held.view(sums, [1], [1], 1).native, false)
      const changed = expected.reduce((sum, v) => sum + 1 - v, 0)
      if (Math.abs((await sums.data())[1] - (total + changed)) > 2 ** -23 * Math.abs(total)) apart++
      return { apart, allowed: 0, what: 'numbers that are wrong' }
    },
  }
}

function rowSum(table, kind, columns) {
  return table.subarray(kind * columns, (kind + 1) * columns).reduce((sum, value) => sum + value, 0)
}
