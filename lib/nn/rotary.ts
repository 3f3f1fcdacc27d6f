import type { NativeDevice } from '../native/addon.js'
import { roundedTo } from '../tensor/half.js'
import type { RotaryInput } from '../tensor/operations/attention.js'
import { allOrNothing, keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'

/** Rotary position embedding of a model; names and formulas follow Hugging Face's `rope_scaling`. */
export type RotaryScaling =
  | { type: 'default' }
  | { type: 'linear'; factor: number }
  /** Rotates only the fastest ⌊part · headSize / 2⌋ pairs (Gemma 4); the others keep their places, with angles of 0. */
  | { type: 'proportional'; factor: number; part: number }
  /** Rows longer than `maxPositions` have a base of their own, which grows with their length (NTK-aware scaling). */
  | { type: 'dynamic'; factor: number; maxPositions: number }
  | {
      type: 'llama3'
      factor: number
      lowFrequencyFactor: number
      highFrequencyFactor: number
      originalPositions: number
    }
  | {
      type: 'yarn'
      factor: number
      originalPositions: number
      betaFast: number
      betaSlow: number
      /** Cosines and sines are multiplied by this. */
      attentionFactor: number
      truncate: boolean
    }
  | {
      /** LongRoPE (arXiv 2402.13753): divisors of frequencies for rows up to `originalPositions`, and others for longer rows. */
      type: 'longrope'
      shortFactors: readonly number[]
      longFactors: readonly number[]
      originalPositions: number
      /** Cosines and sines are multiplied by this. */
      attentionFactor: number
    }

/** Rotary embedding of the first `headSize` elements of each head. */
export interface RotaryPlan {
  readonly theta: number
  readonly headSize: number
  readonly scaling: RotaryScaling
  /**
   * Queries at position p are multiplied by 1 + beta · ln(1 + ⌊p / originalPositions⌋), as in Llama 4: attention stays sharp in
   * long rows. Absent: they are not.
   */
  readonly queryGrowth?: { readonly beta: number; readonly originalPositions: number }
}

/** Returns the angle per position of each pair, [headSize / 2], in a row of `rowLength` tokens. */
export function inverseFrequencies(
  { theta, headSize, scaling }: Omit<RotaryPlan, 'queryGrowth'>,
  rowLength = 0,
): Float64Array {
  const half = headSize / 2
  const withBase = (base: number) => Float64Array.from({ length: half }, (_, j) => base ** ((-2 * j) / headSize))
  const plain = withBase(theta)
  switch (scaling.type) {
    case 'default':
      return plain
    case 'dynamic': {
      const { factor, maxPositions } = scaling
      const stretch = factor * Math.max(1, rowLength / maxPositions) - (factor - 1)
      return withBase(theta * stretch ** (headSize / (headSize - 2)))
    }
    case 'proportional': {
      const turning = Math.floor((scaling.part * headSize) / 2)
      return plain.map((frequency, j) => (j < turning ? frequency / scaling.factor : 0))
    }
    case 'linear':
      return plain.map((frequency) => frequency / scaling.factor)
    case 'longrope':
      return plain.map((frequency, j) => {
        const isLong = rowLength > scaling.originalPositions
        return frequency / (isLong ? scaling.longFactors : scaling.shortFactors)[j]!
      })
    case 'llama3':
      return plain.map((frequency) => {
        const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = scaling
        const turns = (originalPositions * frequency) / (2 * Math.PI)
        if (turns < low) return frequency / factor
        if (turns > high) return frequency
        const smooth = (turns - low) / (high - low)
        return ((1 - smooth) * frequency) / factor + smooth * frequency
      })
    case 'yarn': {
      const { factor, originalPositions, betaFast, betaSlow, truncate } = scaling
      const pairOfTurns = (turns: number) =>
        (headSize * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
      const [fast, slow] = [pairOfTurns(betaFast), pairOfTurns(betaSlow)]
      const low = Math.max(truncate ? Math.floor(fast) : fast, 0)
      const high = Math.min(truncate ? Math.ceil(slow) : slow, headSize - 1)
      const span = high === low ? 0.001 : high - low
      return plain.map((frequency, j) => {
        const interpolated = Math.min(1, Math.max(0, (j - low) / span))
        return (frequency / factor) * interpolated + frequency * (1 - interpolated)
      })
    }
  }
}

/** Returns the number of tokens from which a row uses the long angles; infinite if all rows use the same. */
export const longRowsFrom = ({ scaling }: Pick<RotaryPlan, 'scaling'>): number =>
  scaling.type === 'longrope' ? scaling.originalPositions + 1 : Number.POSITIVE_INFINITY

/** Returns the number of tokens from which each length of a row has angles of its own; infinite if none has. */
export const stretchedRowsFrom = ({ scaling }: Pick<RotaryPlan, 'scaling'>): number =>
  scaling.type === 'dynamic' ? scaling.maxPositions + 1 : Number.POSITIVE_INFINITY

/** The tokens of one forward pass. */
export interface TokenPositions {
  /** [T] */
  readonly positions: Int32Array
  /** The positions on the device. */
  readonly onDevice: Tensor
  /** The length of each token's row, [T]. */
  readonly rowLengths: Int32Array
}

/**
 * Cosines and sines [P, headSize / 2] (float32) for positions from 0 on; they grow for longer rows. LongRoPE's table for long
 * rows follows that for short rows.
 */
export class RotaryTables {
  #tables: Omit<RotaryInput, 'positions'> | null = null
  #rows = { short: 0, long: 0 }
  /** Tables that were too short for a later pass. */
  readonly #outgrown: Omit<RotaryInput, 'positions'>[] = []
  readonly #longFrom: number
  readonly #stretchedFrom: number

  constructor(
    readonly plan: RotaryPlan,
    /** Frequencies are rounded to this; see `LoadOptions.rotaryDtype`. */
    readonly dtype: 'float32' | 'bfloat16',
    readonly device: NativeDevice,
  ) {
    this.#longFrom = longRowsFrom(plan)
    this.#stretchedFrom = stretchedRowsFrom(plan)
  }

  /** Returns the tables, and each token's index into them. */
  at(tokens: TokenPositions): RotaryInput {
    const { positions, onDevice, rowLengths } = tokens
    if (rowLengths.some((length) => length >= this.#stretchedFrom)) return this.#ofTokens(tokens)
    const isLong = (token: number) => rowLengths[token]! >= this.#longFrom
    let [short, long] = [0, 0]
    for (const [token, position] of positions.entries()) {
      if (isLong(token)) long = Math.max(long, position + 1)
      else short = Math.max(short, position + 1)
    }
    const tables = this.#upTo(short, long)
    if (long === 0) return { ...tables, positions: onDevice }
    const places = positions.map((position, token) => (isLong(token) ? this.#rows.short : 0) + position)
    const { device } = this
    return { ...tables, positions: Tensor.from(places, [places.length], { device, dtype: 'int32' }) }
  }

  /** Returns tables with a row for each token, by the length of its own row. */
  #ofTokens({ positions, rowLengths }: TokenPositions): RotaryInput {
    const { device } = this
    const frequencies = new Map<number, Float64Array>()
    for (const length of rowLengths) if (!frequencies.has(length)) frequencies.set(length, this.#frequencies(length))
    const half = this.plan.headSize / 2
    const table = (of: (angle: number) => number) => {
      const values = Float32Array.from({ length: positions.length * half }, (_, i) => {
        const token = Math.floor(i / half)
        return of(positions[token]! * frequencies.get(rowLengths[token]!)![i % half]!)
      })
      return Tensor.from(values, [positions.length, half], { device })
    }
    const places = Tensor.from(
      positions.map((_, token) => token),
      [positions.length],
      { device, dtype: 'int32' },
    )
    return { cosines: table(Math.cos), sines: table(Math.sin), positions: places }
  }

  #upTo(short: number, long: number): Omit<RotaryInput, 'positions'> {
    const known = this.#rows
    if (!this.#tables || short > known.short || long > known.long) {
      // Passes that have begun may still read them; all of them together are at most as long as the last.
      if (this.#tables) this.#outgrown.push(this.#tables)
      const longest = Math.max(long, known.long)
      this.#rows = { short: roomFor(Math.max(short, known.short)), long: longest > 0 ? roomFor(longest) : 0 }
      const { scaling, queryGrowth: growth } = this.plan
      const factor = 'attentionFactor' in scaling ? scaling.attentionFactor : 1
      const frequencies = [this.#frequencies(0), this.#frequencies(this.#longFrom)] as const
      const half = frequencies[0].length
      const { short: shortRows, long: longRows } = this.#rows
      const table = (of: (angle: number) => number, factorAt: (position: number) => number = () => factor) => {
        const values = Float32Array.from({ length: (shortRows + longRows) * half }, (_, i) => {
          const row = Math.floor(i / half)
          const isLong = row >= shortRows
          const position = isLong ? row - shortRows : row
          return factorAt(position) * of(position * frequencies[isLong ? 1 : 0][i % half]!)
        })
        return keep(Tensor.from(values, [shortRows + longRows, half], { device: this.device }))
      }
      const grown = growth && ((position: number) => factor * growthAt(position, growth))
      this.#tables = allOrNothing(() => ({
        cosines: table(Math.cos),
        sines: table(Math.sin),
        ...(grown && { queryCosines: table(Math.cos, grown), querySines: table(Math.sin, grown) }),
      }))
    }
    return this.#tables
  }

  #frequencies(rowLength: number): Float64Array {
    const exact = inverseFrequencies(this.plan, rowLength)
    const { dtype } = this
    return dtype === 'float32' ? exact : exact.map((value) => roundedTo(dtype, value))
  }

  dispose(): void {
    const all = [...this.#outgrown.splice(0), ...(this.#tables ? [this.#tables] : [])]
    for (const table of all.flatMap((tables) => Object.values(tables))) table.dispose()
    this.#tables = null
  }
}

const growthAt = (position: number, { beta, originalPositions }: NonNullable<RotaryPlan['queryGrowth']>): number =>
  1 + beta * Math.log1p(Math.floor(position / originalPositions))

const roomFor = (rows: number): number => Math.max(256, 2 ** Math.ceil(Math.log2(rows)))
