/** A job's secret: a text that all of its processes are given, and that is never sent over the network. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { UsageError } from '../common/errors.js'
import { readTextSync } from '../io/open.js'

const LEAST_CHARACTERS = 16
const HOW = 'set MORA_JOB_SECRET to the same text on all of them, for instance one from `openssl rand -hex 32`'

/** Returns the secret of this process's job, as a key of 32 bytes. Throws a `UsageError` that says how to make one. */
export function secretOfJob(environment: Readonly<Record<string, string | undefined>> = process.env): Buffer {
  const { MORA_JOB_SECRET: text, MORA_JOB_SECRET_FILE: path } = environment
  if (text) return checked('MORA_JOB_SECRET', text)
  if (path) return checked(`${path}, of MORA_JOB_SECRET_FILE,`, contentOf(path))
  throw new UsageError(
    'no-secret',
    `Ranks that connect over TCP need a secret: ${HOW}, or MORA_JOB_SECRET_FILE to the path of a file with it.`,
  )
}

function contentOf(path: string): string {
  try {
    const text = readTextSync(path).trim()
    const { uid, mode } = statSync(path)
    // The rule of ssh for key files. Files of other owners are mounted by a platform.
    if (uid !== process.getuid?.() || (mode & 0o077) === 0) return text
    throw new Error(`users other than its owner can access it; run \`chmod 600 ${path}\``)
  } catch (error) {
    const { message } = error as Error
    throw new UsageError('no-secret', `${path}, of MORA_JOB_SECRET_FILE, is refused: ${message}.`, { cause: error })
  }
}

function checked(what: string, text: string): Buffer {
  if (text.length >= LEAST_CHARACTERS) return createHash('sha256').update(text).digest()
  throw new UsageError(
    'no-secret',
    `Expected at least ${LEAST_CHARACTERS} characters in ${what} but received ${text.length}: ${HOW}.`,
  )
}
