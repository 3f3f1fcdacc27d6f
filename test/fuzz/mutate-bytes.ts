/** Changes without knowledge of a format: bits, integers, and pieces that are cut, doubled, moved or inserted. */
import { choose, few, pick, type Random } from './random.js'

/** Numbers at which readers go wrong: the borders of integers, and sizes that no file has. */
export const oddIntegers: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  127n,
  128n,
  255n,
  256n,
  65535n,
  65536n,
  2n ** 24n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 60n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
]

export function mutateBytes(random: Random, bytes: Uint8Array): Uint8Array {
  let changed = Uint8Array.from(bytes)
  for (let times = few(random); times > 0; times--) changed = changedOnce(random, changed)
  return changed
}

function changedOnce(random: Random, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const at = placeIn(random, bytes.length)
  const length = 1 + random.integer(Math.max(1, Math.min(64, bytes.length - at)))
  const piece = bytes.slice(at, at + length)
  return choose(random, [
    [4, () => flipped(random, bytes, at)],
    [2, () => withByte(bytes, at, random.integer(256))],
    [3, () => writeInteger(bytes, at, pick(random, [1, 2, 4, 8]), pick(random, oddIntegers))],
    [2, () => bytes.slice(0, at)],
    [2, () => joined(bytes.slice(0, at), bytes.slice(at + length))],
    [1, () => joined(bytes.slice(0, at), piece, bytes.slice(at))],
    [
      1,
      () =>
        joined(
          bytes.slice(0, at),
          Uint8Array.from(piece, () => random.integer(256)),
          bytes.slice(at),
        ),
    ],
    [1, () => moved(bytes, piece, placeIn(random, bytes.length))],
    [0.2, () => new Uint8Array(0)],
  ])
}

/** Mostly near the start, where headers are, or the end, where Parquet has its own. */
function placeIn(random: Random, length: number): number {
  if (length === 0) return 0
  const near = Math.min(length, 64)
  return choose(random, [
    [2, () => random.integer(near)],
    [1, () => length - 1 - random.integer(near)],
    [3, () => random.integer(length)],
  ])
}

function flipped(random: Random, bytes: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> {
  return withByte(bytes, at, (bytes[at] ?? 0) ^ (1 << random.integer(8)))
}

function withByte(bytes: Uint8Array<ArrayBuffer>, at: number, value: number): Uint8Array<ArrayBuffer> {
  if (at < bytes.length) bytes[at] = value
  return bytes
}

function moved(bytes: Uint8Array<ArrayBuffer>, piece: Uint8Array, to: number): Uint8Array<ArrayBuffer> {
  bytes.set(piece.subarray(0, bytes.length - to), to)
  return bytes
}

/** Overwrites `width` bytes with the lowest of a number, little-endian. */
export function writeInteger(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  width: number,
  value: bigint,
): Uint8Array<ArrayBuffer> {
  for (let i = 0; i < width && at + i < bytes.length; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn)
  return bytes
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.concat(parts))
}
