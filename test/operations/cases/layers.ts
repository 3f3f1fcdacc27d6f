import { philox4x32 } from '../../../lib/common/random.js'
import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host } from '../host.js'

export const sizes = [
  [1, 1],
  [3, 5],
  [7, 33],
  [2, 64],
  [0, 8],
  [259, 132],
] as const
const heads = [
  [1, 1, 2],
  [5, 3, 6],
  [7, 2, 16],
  [0, 2, 8],
  [130, 3, 96],
] as const

const rope = heads.flatMap(([tokens, count, size]) =>
  [false, true].map((inverse) =>
    operationCase({
      name: `rope [${tokens}, ${count}, ${size}]${inverse ? ', back' : ''}`,
      operands: {
        x: { shape: [tokens, count, size], dtype: 'activation', role: 'inout' },
        positions: { shape: [tokens], dtype: 'int32', values: (random) => random.integer(9) },
        cosines: { shape: [9, size / 2], dtype: 'float32', layouts: 'dense' },
        sines: { shape: [9, size / 2], dtype: 'float32', layouts: 'dense' },
      },
      call: ({ x, positions, cosines, sines }) => native.rope(x, positions, cosines, sines, inverse),
      reference: ({ x, positions, cosines, sines }) => {
        const half = size / 2
        return {
          x: Host.of([tokens, count, size], (t, h, e) => {
            const j = e % half
            const [c, s] = [cosines.at(positions.at(t), j), (inverse ? -1 : 1) * sines.at(positions.at(t), j)]
            return e < half
              ? x.at(t, h, j) * c - x.at(t, h, j + half) * s
              : x.at(t, h, j + half) * c + x.at(t, h, j) * s
          }),
        }
      },
    }),
  ),
)

const partialRope = [false, true].map((inverse) =>
  operationCase({
    name: `rope of the first 6 of 10 elements${inverse ? ', back' : ''}`,
    operands: {
      x: { shape: [5, 2, 10], dtype: 'activation', role: 'inout' },
      positions: { shape: [5], dtype: 'int32', values: (random) => random.integer(9) },
      cosines: { shape: [9, 3], dtype: 'float32', layouts: 'dense' },
      sines: { shape: [9, 3], dtype: 'float32', layouts: 'dense' },
    },
    call: ({ x, positions, cosines, sines }) => native.rope(x, positions, cosines, sines, inverse),
    reference: ({ x, positions, cosines, sines }) => ({
      x: Host.of([5, 2, 10], (t, h, e) => {
        if (e >= 6) return x.at(t, h, e)
        const [c, s] = [cosines.at(positions.at(t), e % 3), (inverse ? -1 : 1) * sines.at(positions.at(t), e % 3)]
        return e < 3 ? x.at(t, h, e) * c - x.at(t, h, e + 3) * s : x.at(t, h, e) * c + x.at(t, h, e - 3) * s
      }),
    }),
  }),
)

/** Whether an element is kept: the definition, with the data pipeline's generator. */
function keeps(key: readonly [number, number], rowKey: number, column: number, probability: number): boolean {
  const high = Math.floor(rowKey / 2 ** 32) >>> 0
  const words = philox4x32([rowKey >>> 0, high, Math.floor(column / 4), 0], key)
  return (words[column % 4]! >>> 8) * 2 ** -24 >= Math.fround(probability)
}

const dropout = sizes.flatMap(([tokens, width]) =>
  [0, 0.1, 0.75].map((probability) =>
    operationCase({
      name: `dropout [${tokens}, ${width}] with ${probability}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation' },
        rowKeys: { shape: [tokens], dtype: 'int64', values: (_, i) => i * 2 ** 33 + 7 * i + 3 },
        y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      },
      call: ({ x, rowKeys, y }) => native.dropout(x, rowKeys, { key: [0xdeadbeef, 17], probability }, y),
      reference: ({ x, rowKeys }) => ({
        y: Host.of([tokens, width], (t, j) =>
          keeps([0xdeadbeef, 17], rowKeys.at(t), j, probability) ? x.at(t, j) / (1 - probability) : 0,
        ),
      }),
    }),
  ),
)

export const layers: Record<'rope' | 'dropout', OperationCase[]> = { rope: [...rope, ...partialRope], dropout }
