/** Decompression of files as a stream. */
import { extname } from 'node:path'
import { pipeline, type Transform } from 'node:stream'
import * as zlib from 'node:zlib'
import { InputError, UsageError } from '../../common/errors.js'
import { ZstdFrames } from './zstd-frames.js'

export type Compression = 'gzip' | 'zstd' | 'brotli'

const EXTENSIONS: Record<string, Compression> = {
  '.gz': 'gzip',
  '.gzip': 'gzip',
  '.zst': 'zstd',
  '.zstd': 'zstd',
  '.br': 'brotli',
}

/** First bytes of each format; Brotli has none. */
const SIGNATURES: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
]

/** Node.js has this from 22.15 (and 23.8) on. */
const { createZstdDecompress } = zlib as { createZstdDecompress?: () => Transform }

const DECOMPRESSORS: Record<Compression, (() => Transform) | undefined> = {
  gzip: zlib.createGunzip,
  brotli: zlib.createBrotliDecompress,
  zstd: createZstdDecompress,
}

/** Text expands 3 to 20 times, repetitive rows 100 times; files made to exhaust memory, a thousand times and more. */
const MOST_EXPANSION = 200
/** Up to this size, any expansion is allowed. */
const UNSUSPECTED_BYTES = 2 ** 21

/** Returns the compression that a file's name states. */
export function compressionOf(path: string): Compression | undefined {
  return EXTENSIONS[extname(path).toLowerCase()]
}

/** Returns the compression that the first bytes state. */
export function signatureOf(start: Uint8Array): Compression | undefined {
  return SIGNATURES.find(([, bytes]) => bytes.every((byte, i) => start[i] === byte))?.[0]
}

/** @throws UsageError `unsupported-data` if this Node.js cannot decompress it */
export function refuseUnreadable(compression: Compression, name: string): void {
  if (DECOMPRESSORS[compression]) return
  throw new UsageError(
    'unsupported-data',
    `${name} is compressed with ${compression}, which Node.js reads from 22.15 on and this is ${process.version}; decompress it first, or use gzip.`,
  )
}

/**
 * @param name of the file, for errors
 * @throws InputError `malformed-file` if the content is damaged or truncated
 */
export async function* decompress(
  bytes: AsyncIterable<Uint8Array>,
  compression: Compression,
  name: string,
): AsyncGenerator<Uint8Array> {
  refuseUnreadable(compression, name)
  const stream = DECOMPRESSORS[compression]!() as Transform & { bytesWritten: number }
  const frames = compression === 'zstd' ? new ZstdFrames() : null
  const seen = async function* () {
    for await (const chunk of bytes) {
      frames?.read(chunk)
      yield chunk
    }
  }
  // A failure of either side destroys the stream with its error, which the loop below then throws.
  pipeline(seen, stream, () => {})
  let whole = 0
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      whole += chunk.length
      // Counts what has been decompressed, not what has been read ahead.
      if (whole > Math.max(UNSUSPECTED_BYTES, MOST_EXPANSION * stream.bytesWritten)) throw isBomb(name)
      yield chunk
    }
  } catch (cause) {
    if (!isDamage(cause)) throw cause
    throw notWhole(name, compression, (cause as Error).message, cause)
  }
  if (frames?.isWhole === false) throw notWhole(name, compression, 'it ends within a frame')
}

function notWhole(name: string, compression: Compression, problem: string, cause?: unknown): InputError {
  return new InputError('malformed-file', `${name} is not whole ${compression} data: ${problem}.`, { cause })
}

function isBomb(name: string): InputError {
  return new InputError(
    'malformed-file',
    `${name} becomes more than ${MOST_EXPANSION} times as large when it is decompressed, like a file made to exhaust memory: decompress it first if you trust it.`,
  )
}

function isDamage(error: unknown): boolean {
  return /^(Z_|ZSTD_|ERR_BROTLI|ERR__ERROR|ERR_ZSTD|ERR_PADDING)/.test(String((error as { code?: unknown }).code))
}
