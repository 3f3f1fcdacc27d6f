/** Turns a prompt into token ids. */
import { type ChatTemplate, type Message, needsTemplate, type TemplateContext } from './template.js'
import type { Tokenizer } from './tokenizer.js'

/** A prompt: a text or a conversation. */
interface WrittenPrompt extends TemplateContext {
  prompt?: string | undefined
  /** A conversation in place of the text; its last turn is usually the user's. */
  messages?: readonly Message[] | undefined
  /** The system message before the prompt. */
  system?: string | undefined
  /** Whether the ids end with the text of the last message, for the model to continue it. Default: false. */
  continueFinalMessage?: boolean | undefined
  /** Whether the ids end where the assistant's turn begins. Default: unless the last message is continued. */
  addGenerationPrompt?: boolean | undefined
}

/**
 * Returns the ids of a prompt. With a template the prompt is a user's turn, and the ids end where the assistant's turn begins.
 * Without one the text is used unchanged, with BOS by the tokenizer's own rule.
 * @throws UsageError `no-chat-template`
 */
export async function encodePrompt(
  tokenizer: Tokenizer,
  template: ChatTemplate | null,
  asked: WrittenPrompt,
  signal?: AbortSignal,
): Promise<number[]> {
  const { prompt, system, tools, templateOptions } = asked
  if (!template) return tokenizer.encodeText(plainPrompt(prompt, system), signal)
  const { continueFinalMessage = false, addGenerationPrompt = true } = asked
  const turns = turnsOfPrompt(asked)
  const context = { tools, templateOptions }
  const text = continueFinalMessage
    ? await template.renderContinued(turns, context, signal)
    : await template.render(turns, { ...context, addGenerationPrompt }, signal)
  return tokenizer.encode(text, signal)
}

/** Returns a prompt as a conversation. */
export function turnsOfPrompt({ prompt, messages, system }: WrittenPrompt): Message[] {
  const turns = messages ? [...messages] : [{ role: 'user', content: prompt! }]
  return system === undefined ? turns : [{ role: 'system', content: system }, ...turns]
}

function plainPrompt(prompt: string | undefined, system: string | undefined): string {
  if (prompt !== undefined && system === undefined) return prompt
  throw needsTemplate(prompt === undefined ? 'Messages need' : 'A system message needs', 'give a prompt alone')
}
