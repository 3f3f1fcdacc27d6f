/** A conversation on a terminal: each answer sees everything said before. */
import { createInterface } from 'node:readline/promises'
import { Chat } from '../generate/index.js'
import type { Model } from '../models/index.js'
import type { GenerateOptions } from '../options/index.js'
import type { CommandContext } from './command.js'

/** Reads lines until the input ends (Ctrl-D) or the user interrupts at the prompt. */
export async function chat(model: Model, options: GenerateOptions, { terminal, log }: CommandContext): Promise<void> {
  using conversation = new Chat(model, { ...options, onWarning: log })
  log('An empty line starts a new conversation; Ctrl-D ends.')
  const lines = createInterface({ input: terminal.stdin, terminal: false })
  terminal.stdout.write('> ')
  for await (const line of lines) {
    if (line.trim() === '') {
      conversation.reset()
      terminal.stdout.write('(new conversation)\n> ')
      continue
    }
    for await (const piece of conversation.say(line)) terminal.stdout.write(piece)
    terminal.stdout.write('\n\n> ')
  }
  terminal.stdout.write('\n')
}
