/** What proves that a process belongs to a job: a text that all of its processes were given, which never goes over the network. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { statSync } from 'node:fs'
import { UsageError } from '../common/errors.js'
import { readTextSync } from '../io/open.js'

/** Bytes of a proof and of what it is about. */
export const PROOF_BYTES = 32
export const CHALLENGE_BYTES = 32

const LEAST_CHARACTERS = 16
const HOW = 'set MORA_JOB_SECRET to the same text on all of them, for instance one from `openssl rand -hex 32`'

export class Secret {
  constructor(private readonly key: string | Buffer) {}

  /** HMAC-SHA-256 of the parts, each with its length. */
  proof(...parts: readonly (string | Uint8Array)[]): Buffer {
    const hmac = createHmac('sha256', this.key)
    for (const part of parts) {
      const bytes = Buffer.from(part)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      hmac.update(length).update(bytes)
    }
    return hmac.digest()
  }

  isProof(given: Uint8Array, ...parts: readonly (string | Uint8Array)[]): boolean {
    return timingSafeEqual(given, this.proof(...parts))
  }

  /** Another that only who knows this one can derive. */
  derived(...parts: readonly (string | Uint8Array)[]): Secret {
    return new Secret(this.proof('key', ...parts))
  }
}

export const newChallenge = (): Buffer => randomBytes(CHALLENGE_BYTES)

/** The secret of this process's job. Throws a `UsageError` that says how to make one. */
export function secretOfJob(environment: Readonly<Record<string, string | undefined>> = process.env): Secret {
  const { MORA_JOB_SECRET: text, MORA_JOB_SECRET_FILE: path } = environment
  if (text) return checked('MORA_JOB_SECRET', text)
  if (path) return checked(`${path}, of MORA_JOB_SECRET_FILE,`, contentOf(path))
  throw new UsageError(
    'no-secret',
    `Ranks that meet over TCP need a secret: ${HOW}, or MORA_JOB_SECRET_FILE to the path of a file with it.`,
  )
}

function contentOf(path: string): string {
  try {
    const text = readTextSync(path).trim()
    const { uid, mode } = statSync(path)
    // As ssh has it of keys. Files of other owners are what a platform mounts.
    if (uid !== process.getuid?.() || (mode & 0o077) === 0) return text
    throw new Error(`others than its owner may use it; run \`chmod 600 ${path}\``)
  } catch (error) {
    const { message } = error as Error
    throw new UsageError('no-secret', `${path}, of MORA_JOB_SECRET_FILE, is refused: ${message}.`, { cause: error })
  }
}

function checked(what: string, text: string): Secret {
  if (text.length >= LEAST_CHARACTERS) return new Secret(text)
  throw new UsageError(
    'no-secret',
    `Expected at least ${LEAST_CHARACTERS} characters in ${what} but received ${text.length}: ${HOW}.`,
  )
}
