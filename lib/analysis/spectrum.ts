import { aNumber, badValue, check, wholeFrom } from '../common/arguments.js'
import { native } from '../native/addon.js'

/** The singular values of a matrix and figures derived from them. */
export interface Spectrum {
  /** Singular values in descending order; as many as the shorter side has entries. */
  readonly singularValues: Float64Array
  /** Number of singular values above the threshold, as in the MoRA paper (arXiv 2405.12130, section 6.2). */
  readonly aboveThreshold: number
  /** exp of the entropy of the singular values as shares of their sum (Roy and Vetterli, 2007); 0 for a zero matrix. */
  readonly effectiveRank: number
  /** The largest singular value. */
  readonly spectralNorm: number
  /** The root of the sum of squared singular values. */
  readonly frobeniusNorm: number
}

const spectrumArguments = { rows: wholeFrom(1), columns: wholeFrom(1), threshold: aNumber }

/**
 * Computes the spectrum of a row-major matrix [rows, columns], in double precision and off the event loop.
 * @throws `non-finite` if a value is not finite
 */
export async function spectrumOf(
  values: Float32Array,
  rows: number,
  columns: number,
  threshold: number,
): Promise<Spectrum> {
  check({ rows, columns, threshold }, spectrumArguments)
  if (!(values instanceof Float32Array && values.length === rows * columns)) {
    throw badValue('values', `a Float32Array of ${rows} × ${columns} numbers`, values)
  }
  const { s } = await native.svd(values, rows, columns, false)
  return {
    singularValues: s,
    aboveThreshold: s.filter((value) => value > threshold).length,
    effectiveRank: effectiveRank(s),
    spectralNorm: s[0] ?? 0,
    frobeniusNorm: Math.hypot(...s),
  }
}

export function effectiveRank(singularValues: Float64Array): number {
  const sum = singularValues.reduce((total, value) => total + value, 0)
  if (sum === 0) return 0
  const entropy = singularValues.reduce((total, value) => {
    const share = value / sum
    return share > 0 ? total - share * Math.log(share) : total
  }, 0)
  return Math.exp(entropy)
}
