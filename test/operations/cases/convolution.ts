import { native } from '../../../lib/native/addon.js'
import { type Operand, type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

/** Documents' starts, channels, and the kernel's length in rows. */
const sizes = [
  { offsets: [0, 1], channels: 1, length: 1 },
  { offsets: [0, 5], channels: 3, length: 4 },
  { offsets: [0, 2, 2, 9, 10], channels: 8, length: 3 },
  { offsets: [0, 7, 40], channels: 33, length: 2 },
  { offsets: [0, 3, 6], channels: 16, length: 9 }, // longer than any document
  { offsets: [0], channels: 4, length: 4 },
  { offsets: [0, 0, 0], channels: 4, length: 4 },
  { offsets: [0, 100, 131, 132, 301], channels: 72, length: 4 },
] as const

/** First and last row, exclusive, of each row's document. */
function documentsOf(offsets: readonly number[]): [first: number, end: number][] {
  return offsets
    .slice(1)
    .flatMap((end, i) => Array.from({ length: end - offsets[i]! }, (): [number, number] => [offsets[i]!, end]))
}

/** Float32 sums over all rows, of products of two numbers each. */
const slack = { float32: 1e-5, bfloat16: 1e-5 }

const named = ({ offsets, channels, length }: (typeof sizes)[number]): string =>
  `${offsets.at(-1)} rows from ${offsets.join(', ')}, ${channels} channels, ${length} taps`

const causalConvolution = sizes.flatMap((size) =>
  [false, true].map((hasBias) => {
    const { offsets, channels, length } = size
    const [rows, documents] = [offsets.at(-1)!, documentsOf(offsets)]
    const operands: Record<'x' | 'kernel' | 'bias' | 'offsets' | 'y', Operand> = {
      x: { shape: [rows, channels], dtype: 'activation' },
      kernel: { shape: [channels, length], dtype: 'float32', layouts: 'dense' },
      bias: { shape: [channels], dtype: 'float32' },
      offsets: { shape: [offsets.length], dtype: 'int32', values: offsets },
      y: { shape: [rows, channels], dtype: 'activation', role: 'out' },
    }
    return operationCase({
      name: `causalConvolution of ${named(size)}${hasBias ? ', bias' : ''}`,
      operands,
      call: (at) => native.causalConvolution(at.x, at.kernel, hasBias ? at.bias : null, at.offsets, at.y),
      reference: ({ x, kernel, bias }) => ({
        y: Host.of([rows, channels], (t, c) => {
          const taps = Math.min(length, t - documents[t]![0] + 1)
          return (hasBias ? bias.at(c) : 0) + sum(taps, (j) => kernel.at(c, length - 1 - j) * x.at(t - j, c))
        }),
      }),
    })
  }),
)

const causalConvolutionBackward = sizes.flatMap((size) =>
  [
    { accumulate: false, trained: true },
    { accumulate: true, trained: true },
    { accumulate: true, trained: false },
  ].map(({ accumulate, trained }) => {
    const { offsets, channels, length } = size
    const [rows, documents] = [offsets.at(-1)!, documentsOf(offsets)]
    const role = trained ? 'inout' : 'in'
    const operands: Record<'dY' | 'x' | 'kernel' | 'offsets' | 'dX' | 'dKernel' | 'dBias', Operand> = {
      dY: { shape: [rows, channels], dtype: 'activation' },
      x: { shape: [rows, channels], dtype: 'activation' },
      kernel: { shape: [channels, length], dtype: 'float32', layouts: 'dense' },
      offsets: { shape: [offsets.length], dtype: 'int32', values: offsets },
      dX: { shape: [rows, channels], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
      dKernel: { shape: [channels, length], dtype: 'float32', layouts: 'dense', role },
      dBias: { shape: [channels], dtype: 'float32', role },
    }
    return operationCase({
      name: `causalConvolutionBackward of ${named(size)}${accumulate ? ', added' : ''}${trained ? '' : ', frozen'}`,
      operands,
      slack,
      call: ({ dKernel, dBias, ...others }) =>
        native.causalConvolutionBackward({ ...others, accumulate, ...(trained && { dKernel, dBias }) }),
      reference: ({ dY, x, kernel, dX, dKernel, dBias }) => ({
        dX: Host.of([rows, channels], (t, c) => {
          const taps = Math.min(length, documents[t]![1] - t)
          const gradient = sum(taps, (j) => kernel.at(c, length - 1 - j) * dY.at(t + j, c))
          return gradient + (accumulate ? dX.at(t, c) : 0)
        }),
        dKernel: Host.of([channels, length], (c, k) => {
          const back = length - 1 - k
          const met = (t: number) => (t - back >= documents[t]![0] ? dY.at(t, c) * x.at(t - back, c) : 0)
          return dKernel.at(c, k) + sum(rows, met)
        }),
        dBias: Host.of([channels], (c) => dBias.at(c) + sum(rows, (t) => dY.at(t, c))),
      }),
    })
  }),
)

export const convolutions: Record<'causalConvolution' | 'causalConvolutionBackward', OperationCase[]> = {
  causalConvolution,
  causalConvolutionBackward,
}
