import { randomStream } from '../common/random.js'

export interface Fact {
  /** `uuid:` */
  prompt: string
  /** Another uuid, which the model can only know by heart. */
  completion: string
}

const DIGITS = '0123456789abcdef'

/** Makes facts to learn by heart, as in the MoRA paper's memory task (arXiv 2405.12130, section 4), from a seed. */
export function randomFacts(count: number, seed: number): Fact[] {
  const random = randomStream(seed, 'facts')
  const below = (limit: number) => Math.floor(random.uniform() * limit)
  return Array.from({ length: count }, () => ({ prompt: `${randomUuid(below)}:`, completion: randomUuid(below) }))
}

/** Makes a version 4 UUID (RFC 9562) from `below`, which returns random integers from 0 to less than its argument. */
export function randomUuid(below: (limit: number) => number): string {
  const digits = Array.from({ length: 32 }, () => DIGITS[below(16)]!)
  digits[12] = '4'
  digits[16] = DIGITS[8 + below(4)]!
  return digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
