/** AWQ (arXiv 2306.00978) as AutoAWQ's version `gemm` and GPTQModel write it: words of codes along outputs, interleaved. */
import { malformed } from '../../../io/open.js'
import { transposed } from '../../../tensor/transpose.js'
import { StoredCodes } from '../stored-codes.js'
import {
  type CheckpointTensors,
  countGroups,
  matrixShape,
  type QuantisationFormat,
  readFinite,
  readWords,
  transposedFloats,
  wordsOf,
} from './format.js'

/** The output in the k-th four bits of a word, among its eight outputs. */
const outputOfNibble = [0, 2, 4, 6, 1, 3, 5, 7]

export const awq: QuantisationFormat = {
  method: 'awq',
  costs: { 'awq-4': { training: 35, decoding: 1.1 } },
  weights(settings, tensors) {
    const [bits, size] = ['w_bit', 'q_group_size'].map((key) => (settings.value(key) === undefined ? null : key))
    settings.require(bits ?? 'bits', [4], undefined)
    settings.require('version', ['gemm'], 'gemm')
    const key = size ?? 'group_size'
    const groupSize = settings.json[key] === -1 ? null : settings.integer(key, 128)
    return tensors.modules('.qweight').map((module) => weightOf(module, groupSize, tensors))
  },
}

function weightOf(module: string, size: number | null, tensors: CheckpointTensors): StoredCodes {
  const words = tensors.take(`${module}.qweight`, null, { dtypes: ['int32'] })
  const [columns, rowWords] = matrixShape(words)
  const rows = 8 * rowWords
  const groupSize = size ?? columns
  if (columns % 2 === 1)
    throw malformed(words.path, `${words.name} has ${columns} inputs, which do not fill whole bytes`)
  const groups = countGroups(columns, groupSize, words)
  const zeros = tensors.take(`${module}.qzeros`, words, { dtypes: ['int32'], shape: [groups, rowWords] })
  const floats = ['float16', 'bfloat16', 'float32'] as const
  const scales = tensors.take(`${module}.scales`, words, { dtypes: floats, shape: [groups, rows] })
  return new StoredCodes({
    name: `${module}.weight`,
    dtype: 'awq-4',
    shape: [rows, columns],
    tensors: [words, scales, zeros],
    scales: (open) => ({
      bits: 4,
      groupSize,
      zeros: transposed(unpackedAlongOutputs(readWords(zeros, open)), groups, rows),
      scales: transposedFloats(readFinite(scales, open), groups, rows),
    }),
    arranged: (bytes) => packedAlongInputs(wordsOf(bytes), rows, columns),
  })
}

/** Returns one code per byte, outputs in order. */
function unpackedAlongOutputs(words: Uint32Array): Uint8Array {
  const codes = new Uint8Array(8 * words.length)
  for (const [i, word] of words.entries()) {
    for (const [k, output] of outputOfNibble.entries()) codes[8 * i + output] = (word >>> (4 * k)) & 15
  }
  return codes
}

/** Converts words [columns, rows / 8] to bytes [rows, columns / 2]. */
function packedAlongInputs(words: Uint32Array, rows: number, columns: number): Uint8Array {
  const [rowWords, rowBytes] = [rows / 8, columns / 2]
  const codes = new Uint8Array(rows * rowBytes)
  for (let byte = 0; byte < rowBytes; byte++) {
    for (let i = 0; i < rowWords; i++) {
      const [even, odd] = [words[2 * byte * rowWords + i]!, words[(2 * byte + 1) * rowWords + i]!]
      for (let k = 0; k < 8; k++) {
        const code = ((even >>> (4 * k)) & 15) | (((odd >>> (4 * k)) & 15) << 4)
        codes[(8 * i + outputOfNibble[k]!) * rowBytes + byte] = code
      }
    }
  }
  return codes
}
