/** Chat templates: a model's own Jinja, rendered as transformers renders it. */
import { createHash } from 'node:crypto'
import { UsageError } from '../common/errors.js'
import { readText } from '../io/open.js'
import { askForAnswers, askForText, type ChatTokenizer, type Conversation } from './isolated/client.js'
import type { MaskedChat } from './masks/mask-answers.js'
import type { RenderOptions, TemplateContext, TemplateDefinition } from './templates/compiled-template.js'
import { renderContinued } from './templates/continued.js'
import type { Message } from './templates/messages.js'

export type { RenderOptions, TemplateContext } from './templates/compiled-template.js'
export type { Message } from './templates/messages.js'

/** A chat template. It is compiled and rendered in another process, which is killed if that takes too much time or memory. */
export class ChatTemplate {
  /** sha256 of the source, hexadecimal; an adapter's file records it, so that a different template is noticed. */
  readonly hash: string
  readonly #sources: readonly string[]
  readonly #definition: TemplateDefinition

  constructor(definition: TemplateDefinition) {
    this.#definition = definition
    this.#sources = [definition.source, definition.toolSource].filter((source) => typeof source === 'string')
    this.hash = createHash('sha256').update(this.#sources.join('\0')).digest('hex')
  }

  /** Jinja for conversations without tools; null if a model names several templates and none of them `default`. */
  get source(): string | null {
    return this.#definition.source
  }

  /** Tells whether the source contains a word as a string literal. */
  names(word: string): boolean {
    return this.#sources.some((source) => source.includes(`'${word}'`) || source.includes(`"${word}"`))
  }

  /** Whether the template can print tools: their variable is in its source. */
  get readsTools(): boolean {
    return this.#sources.some((source) => /\btools\b/.test(source))
  }

  /**
   * Returns the conversation as the model reads it.
   * @param signal aborting it ends the waiting with its reason
   * @throws InputError `malformed-template`, `template-failed`, also if the template itself refuses the conversation
   */
  render(messages: readonly Message[], options: RenderOptions, signal?: AbortSignal): Promise<string> {
    return askForText(this.#definition, messages, options, signal)
  }

  /**
   * Returns the conversation up to the end of the last message's text, for the model to continue it.
   * @param signal aborting it ends the waiting with its reason
   * @throws InputError what `render` throws; `template-failed` if the template does not print the text as it is
   */
  renderContinued(messages: readonly Message[], context: TemplateContext, signal?: AbortSignal): Promise<string> {
    const options = { ...context, addGenerationPrompt: false }
    return renderContinued(messages, (marked) => this.render(marked, options, signal))
  }

  /**
   * Returns the tokens of a conversation, and which of them the model has to write.
   * @param signal aborting it ends the waiting with its reason
   * @throws InputError `malformed-template`, `template-failed`, `tokenizer-failed`, `unmaskable-template`, `double-bos`,
   * `no-end-of-turn`
   */
  answers(tokenizer: ChatTokenizer, conversation: Conversation, signal?: AbortSignal): Promise<MaskedChat> {
    return askForAnswers(this.#definition, tokenizer, conversation, signal)
  }
}

/** The part of a tokenizer that `resolveTemplate` needs. */
interface TemplateOwner {
  /** The model's own. */
  readonly template: ChatTemplate | null
  readonly specialTokens: Readonly<Record<string, string>>
}

/** Templates of files by owner and path: caches about a template use the object as their key. */
const ofFiles = new WeakMap<TemplateOwner, Map<string, ChatTemplate>>()

/**
 * Returns the template that `--template` means: for `auto` the tokenizer's own (null if it has none), for `none` null, else a
 * file's, the same object for the same file while its text is the same.
 * @throws UsageError `missing-file`
 */
export async function resolveTemplate(option: string, tokenizer: TemplateOwner): Promise<ChatTemplate | null> {
  if (option === 'none') return null
  if (option === 'auto') return tokenizer.template
  let source: string
  try {
    source = await readText(option)
  } catch (cause) {
    throw new UsageError(
      'missing-file',
      `The template ${option} cannot be read; give auto, none or the path of a Jinja file.`,
      { cause },
    )
  }
  const known = ofFiles.get(tokenizer) ?? new Map<string, ChatTemplate>()
  ofFiles.set(tokenizer, known)
  const former = known.get(option)
  if (former?.source === source) return former
  const template = new ChatTemplate({ source, specialTokens: tokenizer.specialTokens, origin: option })
  known.set(option, template)
  return template
}

/**
 * Returns the error for what only a chat template can express.
 * @param what with its verb, as in `Tools need`
 * @param instead another way than naming a template
 */
export const needsTemplate = (what: string, instead?: string): UsageError =>
  new UsageError(
    'no-chat-template',
    `${what} a chat template, and none is in use; name a template file${instead ? `, or ${instead}` : ''}.`,
  )

/** Refuses tools and options of a template where none is in use. @throws UsageError `no-chat-template` */
export function requireNothingForTemplate(context: {
  tools?: readonly unknown[] | null | undefined
  templateOptions?: object | undefined
}): void {
  const { tools, templateOptions = {} } = context
  if (!tools?.length && Object.keys(templateOptions).length === 0) return
  throw needsTemplate(tools?.length ? 'Tools need' : 'Options of a template need')
}
