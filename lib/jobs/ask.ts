/** Questions of graders to models of the same server. */
import { setTimeout as delay } from 'node:timers/promises'
import { RunError } from '../common/errors.js'
import type { AskModel, QuestionUsage } from '../graders/grade.js'
import type { JobsHost } from './host.js'

/** Milliseconds between attempts while the server has too many requests, and their number. */
const WAIT = 500
const ATTEMPTS = 1000

interface Answered {
  readonly choices?: readonly { readonly message: { readonly content: string | null } }[]
  readonly usage?: QuestionUsage
  readonly error?: { readonly message: string }
}

/** Returns the function with which a client's grader asks models. */
export const askFor =
  (host: Pick<JobsHost, 'answer'>, client: string | null): AskModel =>
  async (body, signal) => {
    for (let attempt = 1; ; attempt++) {
      const response = await host.answer('/v1/chat/completions', body, client, signal)
      signal?.throwIfAborted()
      const { choices, usage, error } = (await response.json()) as Answered
      if (choices && usage) return { text: choices[0]!.message.content ?? '', usage }
      const isBusy = response.status === 429 || response.status === 503
      if (!isBusy || attempt === ATTEMPTS) throw new RunError('failed-reward', error?.message ?? 'There was no answer.')
      await delay(WAIT, undefined, { signal })
    }
  }
