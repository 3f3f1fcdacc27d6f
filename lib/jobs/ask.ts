/** Requests of the server's own, which wait while there are too many of others. */
import { setTimeout as delay } from 'node:timers/promises'
import { RunError } from '../common/errors.js'
import type { GraderHelp, QuestionUsage } from '../graders/grade.js'
import { isJsonObject, type JsonObject } from '../io/json.js'
import type { JobsHost } from './host.js'

type Asked = Pick<JobsHost, 'answer'>

/** Milliseconds between attempts while the server has too many requests or too little memory, and their number. */
const WAIT = 500
const ATTEMPTS = 1200
const BUSY: readonly unknown[] = ['rate_limit_exceeded', 'overloaded', 'closing']

/** Returns the answer to a request of a client, or the error in its place. @throws the signal's reason */
export async function patientAnswer(
  host: Asked,
  path: string,
  body: object,
  { client, signal }: { client: string | null; signal: AbortSignal | undefined },
): Promise<{ status: number; body: JsonObject }> {
  for (let attempt = 1; ; attempt++) {
    const response = await host.answer(path, body, client, signal)
    signal?.throwIfAborted()
    const answered = (await response.json()) as JsonObject
    const { error } = answered
    const isBusy = !response.ok && isJsonObject(error) && BUSY.includes(error.code)
    if (!isBusy || attempt === ATTEMPTS) return { status: response.status, body: answered }
    await delay(WAIT, undefined, { signal })
  }
}

interface Answered {
  readonly choices?: readonly { readonly message: { readonly content: string | null } }[]
  readonly usage?: QuestionUsage
  readonly error?: { readonly message: string }
}

/** Returns what graders of a client need of the server. */
export function graderHelp(host: Pick<JobsHost, 'answer' | 'graders' | 'onError'>, client: string | null): GraderHelp {
  const ask: GraderHelp['ask'] = async (asked, signal) => {
    const { body } = await patientAnswer(host, '/v1/chat/completions', asked, { client, signal })
    const { choices, usage, error } = body as Answered
    if (choices && usage) return { text: choices[0]!.message.content ?? '', usage }
    throw new RunError('failed-reward', error?.message ?? 'There was no answer.')
  }
  return { ask, programs: host.graders, onError: host.onError }
}
