import { UsageError } from '../../common/errors.js'
import { inverseFrequencies } from '../../nn/rotary.js'

/** The `rope_scaling` of a Llama configuration. */
type RopeScaling =
  | { rope_type: 'proportional'; factor: number; partial_rotary_factor: number }
  | { rope_type: 'linear'; factor: number }
  | {
      rope_type: 'yarn'
      factor: number
      original_max_position_embeddings: number
      beta_fast: number
      beta_slow: number
      attention_factor?: number
    }
  | {
      rope_type: 'llama3'
      factor: number
      low_freq_factor: number
      high_freq_factor: number
      original_max_position_embeddings: number
    }

interface RopeFactors {
  /** Divisors [headSize / 2] of the rotary frequencies, the values of `rope_freqs.weight`. */
  factors: Float32Array
  theta: number
  headSize: number
  /** The context length of pretraining, if the file has it. */
  original: number | null
  /** Names the file in errors. */
  path: string
}

/** Every Llama 3 model has these; GGUF files do not store them. */
const LOW_FREQUENCY_FACTOR = 1
const HIGH_FREQUENCY_FACTOR = 4

/** The divisor of pairs that do not rotate, as llama.cpp's converter writes it, and the least that counts as one. */
const [NEVER, AT_LEAST] = [1e30, 1e20]

/**
 * Returns the scaling that a GGUF file stores only as a table. Proportional rotary embedding divides some pairs alike, and the rest
 * do not rotate. Of Llama 3's, the factor is the table's largest divisor; the context
 * length of pretraining is the power of two that gives an equal table.
 * @returns null if every divisor is 1
 * @throws UsageError `unsupported-option` if no scaling gives this table
 */
export function ropeScalingFromFactors({ factors, theta, headSize, original, path }: RopeFactors): RopeScaling | null {
  const factor = factors.reduce((largest, value) => Math.max(largest, value), 0)
  if (factors.length === headSize / 2 && factors.every((value) => value === 1)) return null
  const rotated = factors.findIndex((value) => value >= AT_LEAST)
  const isProportional =
    rotated > 0 && factors.every((value, i) => (i < rotated ? value === factors[0] : value >= AT_LEAST))
  if (factors.length === headSize / 2 && isProportional)
    return { rope_type: 'proportional', factor: factors[0]!, partial_rotary_factor: rotated / factors.length }
  const contextLengths = original === null ? Array.from({ length: 15 }, (_, power) => 64 * 2 ** power) : [original]
  for (const contextLength of contextLengths) {
    const expected = llama3Factors(factor, contextLength, theta, headSize)
    if (expected.length !== factors.length) break
    if (!expected.every((value, index) => Math.abs(value - factors[index]!) <= 1e-4 * value)) continue
    return {
      rope_type: 'llama3',
      factor,
      low_freq_factor: LOW_FREQUENCY_FACTOR,
      high_freq_factor: HIGH_FREQUENCY_FACTOR,
      original_max_position_embeddings: contextLength,
    }
  }
  throw new UsageError(
    'unsupported-option',
    `${path} has a rope_freqs.weight that is not Llama 3's table for head size ${headSize} and base ${theta}.`,
  )
}

/** Returns the divisors of proportional rotary embedding. */
export function proportionalFactors(factor: number, part: number, headSize: number): number[] {
  const rotated = Math.floor((part * headSize) / 2)
  return Array.from({ length: headSize / 2 }, (_, pair) => (pair < rotated ? factor : NEVER))
}

/** Returns the divisors [headSize / 2] of the rotary frequencies: from 1 for the fastest to `factor` for the slowest. */
export function llama3Factors(factor: number, originalPositions: number, theta: number, headSize: number): number[] {
  const [lowFrequencyFactor, highFrequencyFactor] = [LOW_FREQUENCY_FACTOR, HIGH_FREQUENCY_FACTOR]
  const llama3 = { type: 'llama3', factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } as const
  const plain = inverseFrequencies({ theta, headSize, scaling: { type: 'default' } })
  const scaled = inverseFrequencies({ theta, headSize, scaling: llama3 })
  return Array.from(plain, (frequency, pair) => frequency / scaled[pair]!)
}
