/** A conversation on a terminal: each answer takes everything said before into account. */
import { createInterface } from 'node:readline/promises'
import { Chat } from '../generate/index.js'
import type { Model } from '../models/index.js'
import { forLibrary, GenerateSchema, type GenerateSettings } from '../options/index.js'
import type { CommandContext } from './command.js'
import { interruptible } from './terminal/interrupt.js'
import { writeAnswer } from './terminal/terminal.js'

/** Reads one message per line until the input ends. Ctrl-C ends the answer, or, at the prompt, the program. */
export async function converse(
  model: Model,
  options: GenerateSettings,
  { terminal, log, note: onWarning }: CommandContext,
): Promise<void> {
  const { stdin, stdout } = terminal
  log('An empty line starts a new conversation, Ctrl-C ends an answer, Ctrl-D ends.')
  const chat = new Chat(model, { ...forLibrary(GenerateSchema, options), onWarning })
  const lines = createInterface({ input: stdin, terminal: false })
  try {
    stdout.write('> ')
    for await (const line of lines) {
      if (line.trim() === '') chat.reset()
      else await sayAnswer(chat, line, (piece) => writeAnswer(stdout, piece))
      stdout.write(line.trim() === '' ? '(new conversation)\n> ' : '\n\n> ')
    }
    stdout.write('\n')
  } finally {
    lines.close()
    chat.dispose()
  }
}

async function sayAnswer(chat: Chat, message: string, write: (piece: string) => void): Promise<void> {
  let isStopped = false
  const answer = async () => {
    for await (const piece of chat.say(message)) {
      write(piece)
      if (isStopped) break
    }
  }
  await interruptible(answer, () => {
    isStopped = true
  })
}
