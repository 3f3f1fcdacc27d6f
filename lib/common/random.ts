/**
 * Philox4x32-10, a counter-based generator: the n-th number of a stream is a function of (key, n), so that streams are
 * independent of each other and of the order in which they are read.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { aNumber, anyText, check, expecting, optionsSchema, wholeFrom, wholes } from './arguments.js'
import { UsageError } from './errors.js'

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

/** Returns the upper 32 bits of the product of two unsigned 32-bit numbers; no sum below exceeds 2^32. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (Math.imul(aLow, bLow) >>> 16)
  const carry = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff)
  return ((Math.imul(aHigh, bHigh) >>> 0) + (middle >>> 16) + (carry >>> 16)) >>> 0
}

const loadArguments = {
  state: optionsSchema('the state of a random stream', {
    key: wholes,
    words: wholeFrom(0),
    spareNormal: aNumber.optional(),
  }),
}

const streamArguments = {
  seed: expecting('a whole number', z.union([z.int(), z.bigint()])),
  name: anyText,
}

type Words4 = readonly [number, number, number, number]
type Words2 = readonly [number, number]

/** Computes one block: four unsigned 32-bit words from a counter of four words and a key of two. */
export function philox4x32([c0, c1, c2, c3]: Words4, [k0, k1]: Words2): Words4 {
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0)
    const low0 = Math.imul(MULTIPLIER_0, c0)
    const high1 = multiplyHigh(MULTIPLIER_1, c2)
    const low1 = Math.imul(MULTIPLIER_1, c2)
    c0 = high1 ^ c1 ^ k0
    c1 = low1
    c2 = high0 ^ c3 ^ k1
    c3 = low0
    k0 = (k0 + WEYL_0) | 0
    k1 = (k1 + WEYL_1) | 0
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0]
}

/** The position of a `RandomStream`, to continue later: JSON. */
export interface RandomState {
  /** The stream's key. */
  readonly key: readonly number[]
  /** Number of 32-bit words that were read. */
  readonly words: number
  /** The second normal number of a pair, if only the first was read. */
  readonly spareNormal?: number
}

/** A stream of random numbers, read from its start. */
export class RandomStream {
  #block = 0
  #words: Words4 = [0, 0, 0, 0]
  /** Number of words read from the block. */
  #read = 4
  #spareNormal: number | undefined

  constructor(
    /** The key of Philox: two unsigned 32-bit words. */
    readonly key: Words2,
  ) {}

  /** Returns an unsigned 32-bit integer. */
  uint32(): number {
    if (this.#read === 4) {
      this.#words = philox4x32([this.#block >>> 0, Math.floor(this.#block / 2 ** 32), 0, 0], this.key)
      this.#block++
      this.#read = 0
    }
    return this.#words[this.#read++]!
  }

  /** Skips words that are computed elsewhere; returns how many were before them. */
  skip(words: number): number {
    const before = 4 * this.#block - 4 + this.#read
    const after = before + words
    this.#block = Math.floor(after / 4)
    this.#read = 4
    for (let i = 0; i < after % 4; i++) this.uint32()
    return before
  }

  /** Returns the stream's position, for `load` of a stream with the same key. */
  state(): RandomState {
    const spareNormal = this.#spareNormal
    return { key: this.key, words: this.skip(0), ...(spareNormal !== undefined && { spareNormal }) }
  }

  /** Continues at a position that `state` returned. @throws UsageError `unfit-state` if that is of another stream */
  load(state: RandomState): void {
    check({ state }, loadArguments)
    if (state.key.join() !== this.key.join()) {
      const keys = `Expected the state of a stream with the key ${this.key.join(', ')} but received one of ${state.key.join(', ')}`
      throw new UsageError('unfit-state', `${keys}: the stream had another seed, name or counters.`)
    }
    this.#block = 0
    this.#read = 4
    this.skip(state.words)
    this.#spareNormal = state.spareNormal
  }

  /** Returns a uniform number in [0, 1), with 53 random bits. */
  uniform(): number {
    const high = this.uint32() >>> 5
    const low = this.uint32() >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }

  /** Returns a uniform integer in [0, bound), without modulo bias; `bound` from 1 to 2^32. */
  integer(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound)
    let word = this.uint32()
    while (word >= limit) word = this.uint32()
    return word % bound
  }

  /** Returns a standard normal number, by the Box-Muller transform. */
  normal(): number {
    if (this.#spareNormal !== undefined) {
      const spare = this.#spareNormal
      this.#spareNormal = undefined
      return spare
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spareNormal = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** Shuffles in place (Fisher-Yates) and returns its argument. */
  shuffle<T extends Uint32Array | unknown[]>(items: T): T {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.integer(last + 1)
      const kept = items[last]
      items[last] = items[other]
      items[other] = kept
    }
    return items
  }
}

/** Returns the key of (seed, name, counters): two words that select a stream, here or in a kernel (dropout). */
export function streamKey(seed: number | bigint, name: string, ...counters: (number | string)[]): [number, number] {
  const digest = createHash('sha256')
    .update(JSON.stringify([String(seed), name, ...counters]))
    .digest()
  return [digest.readUInt32LE(0), digest.readUInt32LE(4)]
}

/**
 * Returns the stream of (seed, name, counters), a function of these alone: reading one stream does not affect another.
 *
 * @param name its purpose: `init`, `shuffle`, ...
 * @param counters tell streams of one name apart: an epoch, a layer, ...
 */
export function randomStream(seed: number | bigint, name: string, ...counters: (number | string)[]): RandomStream {
  check({ seed, name }, streamArguments)
  return new RandomStream(streamKey(seed, name, ...counters))
}
