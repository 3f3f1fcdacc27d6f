/** Returns the permutation that `numpy.random.seed(seed); numpy.random.shuffle(numpy.arange(count))` makes. */
export function numpyShuffle(count: number, seed: number): Uint32Array {
  const next = mersenneTwister(seed)
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  for (let last = count - 1; last > 0; last--) {
    const other = uniformUpTo(last, next)
    const kept = order[last]!
    order[last] = order[other]!
    order[other] = kept
  }
  return order
}

/** Draws an integer from 0 to `most` by rejection, of as many bits as `most` has. */
function uniformUpTo(most: number, next: () => number): number {
  const mask = 0xffffffff >>> Math.clz32(most)
  let value = (next() & mask) >>> 0
  while (value > most) value = (next() & mask) >>> 0
  return value
}

const LENGTH = 624
const MIDDLE = 397

/** MT19937 (Matsumoto and Nishimura, 1998), 32 bits at a time. */
function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(LENGTH)
  state[0] = seed
  for (let i = 1; i < LENGTH; i++) {
    const before = state[i - 1]!
    state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i
  }
  let place = LENGTH
  const renew = () => {
    for (let i = 0; i < LENGTH; i++) {
      const joined = (state[i]! & 0x80000000) | (state[(i + 1) % LENGTH]! & 0x7fffffff)
      state[i] = state[(i + MIDDLE) % LENGTH]! ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0)
    }
    place = 0
  }
  return () => {
    if (place === LENGTH) renew()
    let value = state[place++]!
    value ^= value >>> 11
    value ^= (value << 7) & 0x9d2c5680
    value ^= (value << 15) & 0xefc60000
    return (value ^ (value >>> 18)) >>> 0
  }
}
