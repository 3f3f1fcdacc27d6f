/** MXFP4 (OCP Microscaling 1.0) as gpt-oss has it: stacks of experts in blocks of 32 with a power of two each. */
import { malformed } from '../../../io/open.js'
import { elementsOf } from '../../../native.js'
import type { QuantisationFormat } from './format.js'
import { bytesOfParts, type CheckpointTensors, type QuantisedWeight, readBytes } from './tensors.js'

const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
const values = Float32Array.from({ length: 16 }, (_, code) => (code < 8 ? 1 : -1) * magnitudes[code & 7]!)
const powersOfTwo = Float32Array.from({ length: 256 }, (_, exponent) =>
  exponent === 255 ? Number.NaN : 2 ** (exponent - 127),
)

const BLOCK_SIZE = 32

export const mxfp4: QuantisationFormat = {
  method: 'mxfp4',
  weights: (_, tensors) => tensors.modules('_blocks').map((name) => weightOf(name, tensors)),
}

function weightOf(name: string, tensors: CheckpointTensors): QuantisedWeight {
  const codes = tensors.take(`${name}_blocks`, null, { dtypes: ['uint8'] })
  const [experts, out, blocks, bytes] = codes.shape as [number, number, number, number]
  if (codes.shape.length !== 4 || bytes !== BLOCK_SIZE / 2 || elementsOf(codes.shape) === 0) {
    throw malformed(
      codes.path,
      `${codes.name} is [${codes.shape.join(', ')}], but [experts, out, in / 32, 16] was expected`,
    )
  }
  const scales = tensors.take(`${name}_scales`, codes, { dtypes: ['uint8', 'F8_E8M0'], shape: [experts, out, blocks] })
  const [rows, columns] = [experts * out, BLOCK_SIZE * blocks]
  const parts = [codes, scales]
  return {
    name,
    path: codes.path,
    dtype: 'mxfp4',
    shape: [experts, out, columns],
    bytes: bytesOfParts(parts),
    parts,
    scales(open) {
      const exponents = readBytes(scales, open)
      const bad = exponents.indexOf(255)
      if (bad >= 0) throw malformed(scales.path, `value ${bad} of ${scales.name} is not finite`)
      const one = { table: powersOfTwo, scales: Float32Array.of(1), perScale: exponents.length, offset: 0 }
      return {
        rows,
        columns,
        bits: 4,
        highFirst: false,
        table: values,
        zeros: 0,
        rowsPerScale: 1,
        groupSize: BLOCK_SIZE,
        runsOn: false,
        groupOfColumn: null,
        scales: { codes: exponents, ...one },
      }
    },
    codes,
  }
}
