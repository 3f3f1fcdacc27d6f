/** A conversation: each answer takes everything said before into account. */
import { createInterface } from 'node:readline/promises'
import { MoraError, UsageError } from '../common/errors.js'
import { Chat, type ChatOptions } from '../generate/index.js'
import type { Model } from '../models/index.js'
import type { CommandContext } from './command.js'
import { interruptible } from './terminal/interrupt.js'
import { isInteractive, writeAnswer } from './terminal/terminal.js'

const HELP = '/clear starts a new conversation, /exit or Ctrl-D ends, Ctrl-C ends an answer.'

/**
 * Reads one message per line until the input ends. On a terminal, Ctrl-C ends the answer, or, at the prompt, the program, and a
 * message that cannot be answered leaves the conversation as it was; elsewhere, both end the command.
 */
export async function converse(
  model: Model,
  { json, ...options }: ChatOptions & { json: boolean },
  { terminal, log, note: onWarning }: CommandContext,
): Promise<void> {
  const { stdin, stdout, stderr } = terminal
  const isChat = isInteractive(terminal)
  const chat = new Chat(model, { ...options, onWarning })

  async function answer(message: string): Promise<void> {
    if (message === '/clear') return chat.reset()
    if (message === '/help') return log(HELP)
    if (/^\/[a-z]+$/.test(message))
      throw new UsageError('bad-value', `Expected a message, /clear, /help or /exit but received ${message}.`)
    const ending = new AbortController()
    const onText = (piece: string) => {
      if (!json) writeAnswer(stdout, piece)
    }
    const work = () => said(chat, message, ending.signal, onText)
    const result = isChat ? (await interruptible(work, () => ending.abort())).value : await work()
    stdout.write(json ? `${JSON.stringify(result)}\n` : isChat ? '\n\n' : '\n')
  }

  const invite = () => isChat && stdout.write('> ')
  const lines = createInterface({ input: stdin, terminal: false })
  try {
    if (isChat) log(HELP)
    invite()
    for await (const line of lines) {
      const message = line.trim()
      if (message === '/exit') return
      try {
        if (message !== '') await answer(message)
      } catch (error) {
        if (!isChat || !(error instanceof MoraError)) throw error
        stderr.write(`${error.message}\n`)
      }
      invite()
    }
    if (isChat) stdout.write('\n')
  } finally {
    lines.close()
    chat.dispose()
  }
}

/** Passes on the pieces of an answer; returns its result, or null if `signal` has ended it. */
async function said(chat: Chat, message: string, signal: AbortSignal, onText: (piece: string) => void) {
  const pieces = chat.say(message, { signal })
  try {
    for (;;) {
      const { done, value } = await pieces.next()
      if (done) return value
      onText(value)
    }
  } catch (error) {
    if (signal.aborted) return null
    throw error
  }
}
