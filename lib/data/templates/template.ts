/** Chat templates: a model's own Jinja, rendered as the model's other tools render it. */
import { InputError, UsageError } from '../../errors.js'
import { reasonOf } from '../../foreign-errors.js'
import { readText } from '../../io/open.js'
import { acceptedForm, type Message } from './messages.js'
import { type Piece, TemplateProgram } from './program.js'

export type { Message } from './messages.js'

import { createHash } from 'node:crypto'

/** What a template is told beside the messages. */
export interface TemplateContext {
  /** JSON schemas of the functions that the model may call. An empty list is another thing than none for some templates. */
  tools?: readonly unknown[] | null
  /** Further variables of the template, such as `enable_thinking`. */
  templateOptions?: Readonly<Record<string, unknown>>
}

export interface RenderOptions extends TemplateContext {
  /** Ends with the opening of an assistant's turn, for the model to go on. */
  addGenerationPrompt: boolean
}

/** The text of all stretches. */
export const textOf = (pieces: readonly Piece[]): string => pieces.map(({ text }) => text).join('')

/** A compiled chat template. */
export class ChatTemplate {
  /** sha256 of the source, hexadecimal: kept beside an adapter, so that a drift of templates is seen. */
  readonly hash: string
  readonly #program: TemplateProgram

  /**
   * @param source Jinja
   * @param specialTokens what the template may name: `bos_token`, `eos_token`, ...
   * @param origin names the template in errors
   * @throws InputError `malformed-template`
   */
  constructor(
    readonly source: string,
    private readonly specialTokens: Readonly<Record<string, string>>,
    private readonly origin: string,
  ) {
    this.hash = createHash('sha256').update(source).digest('hex')
    try {
      this.#program = new TemplateProgram(source)
    } catch (cause) {
      throw new InputError('malformed-template', `The chat template of ${origin} cannot be read: ${reason(cause)}.`, {
        cause,
      })
    }
  }

  /** Whether the source has a word as a text of its own. */
  names(word: string): boolean {
    return this.source.includes(`'${word}'`) || this.source.includes(`"${word}"`)
  }

  /** Whether it may show the functions that the model can call: the variable that has them is in its source. */
  get readsTools(): boolean {
    return /\btools\b/.test(this.source)
  }

  /** @throws InputError `template-failed`, also where the template itself refuses the conversation */
  render(messages: readonly Message[], options: RenderOptions): string {
    return textOf(this.write(this.accepted(messages, options), options))
  }

  /** The messages in the form that the template takes: those that `write` is for. */
  accepted(messages: readonly Message[], context: TemplateContext = {}): Message[] {
    const render = (form: readonly Message[]) => textOf(this.write(form, { ...context, addGenerationPrompt: false }))
    return acceptedForm(messages, render)
  }

  /**
   * What the template makes of messages as they are, in stretches that know which message wrote them.
   * @throws InputError `template-failed`
   */
  write(messages: readonly Message[], { addGenerationPrompt, tools, templateOptions }: RenderOptions): Piece[] {
    try {
      return this.#program.write(messages, {
        ...this.specialTokens,
        documents: null,
        strftime_now: (format: string) => formatDate(TEMPLATE_DATE, format),
        ...templateOptions,
        tools: tools ?? null,
        add_generation_prompt: addGenerationPrompt,
      })
    } catch (cause) {
      throw new InputError(
        'template-failed',
        `The chat template of ${this.origin} does not accept this conversation: ${reason(cause)}.`,
        { cause },
      )
    }
  }
}

/** What a tokenizer has for templates. */
export interface TemplateOwner {
  /** The model's own. */
  readonly template: ChatTemplate | null
  readonly specialTokens: Readonly<Record<string, string>>
}

/**
 * What `--template` means for a tokenizer: `auto` its own template (null if it has none), `none` null, else a file.
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
  return new ChatTemplate(source, tokenizer.specialTokens, option)
}

/**
 * "Today" of templates that print a date: the day that Llama's own templates fall back to. A real clock would change
 * the tokens, and with them the hash of a data set, from one day to the next.
 */
const TEMPLATE_DATE = new Date(Date.UTC(2024, 6, 26))

const MONTHS = 'January February March April May June July August September October November December'.split(' ')
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ')

/** The part of strftime that templates use. */
function formatDate(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const month = MONTHS[date.getUTCMonth()]!
  const day = DAYS[date.getUTCDay()]!
  const values: Record<string, string> = {
    d: two(date.getUTCDate()),
    m: two(date.getUTCMonth() + 1),
    y: two(date.getUTCFullYear() % 100),
    Y: String(date.getUTCFullYear()),
    b: month.slice(0, 3),
    B: month,
    a: day.slice(0, 3),
    A: day,
    H: two(date.getUTCHours()),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    '%': '%',
  }
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => values[letter] ?? whole)
}

function reason(cause: unknown): string {
  if (cause instanceof RangeError) return 'it nests too deep, or makes too much text'
  return reasonOf(cause, 'it is not the Jinja that chat templates are written in, or is cut off')
}
