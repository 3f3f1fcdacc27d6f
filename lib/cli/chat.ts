/** A conversation on a terminal: each answer sees everything said before. */
import { createInterface } from 'node:readline/promises'
import type { Message } from '../data/template.js'
import { generate } from '../generate/index.js'
import type { Model } from '../models/index.js'
import type { GenerateOptions } from '../options/index.js'
import type { CommandContext } from './command.js'

/** Reads lines until the input ends (Ctrl-D) or the user interrupts at the prompt. */
export async function chat(model: Model, options: GenerateOptions, { terminal, log }: CommandContext): Promise<void> {
  log('An empty line starts a new conversation; Ctrl-D ends.')
  const lines = createInterface({ input: terminal.stdin, terminal: false })
  let messages = opening(options)
  terminal.stdout.write('> ')
  for await (const line of lines) {
    if (line.trim() === '') {
      messages = opening(options)
      terminal.stdout.write('(new conversation)\n> ')
      continue
    }
    messages.push({ role: 'user', content: line })
    const onText = (text: string) => void terminal.stdout.write(text)
    const { text } = await generate(model, { ...options, prompt: messages, onText })
    messages.push({ role: 'assistant', content: text })
    terminal.stdout.write('\n\n> ')
  }
  terminal.stdout.write('\n')
}

function opening({ system }: GenerateOptions): Message[] {
  return system === undefined ? [] : [{ role: 'system', content: system }]
}
