/** A compiled chat template. Renders conversations as transformers does. */
import { InputError, UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { theOption } from '../../common/option-names.js'
import { globals } from '../jinja/globals.js'
import { Output, type Piece, Scope } from '../jinja/scope.js'
import { type Marking, type Program, parse } from '../jinja/statements.js'
import { toValue, type Value } from '../python/values.js'
import { acceptedForm, type Message } from './messages.js'

/** The sources and variables of a chat template. */
export interface TemplateDefinition {
  /** Jinja; null if a model names several templates and none of them `default`. */
  source: string | null
  /** Jinja for conversations with tools; by default `source`. */
  toolSource?: string
  /** Variables: `bos_token`, `eos_token`, ... */
  specialTokens: Readonly<Record<string, string>>
  /** Names the template in errors. */
  origin: string
}

/** Variables of a template beside the messages. */
export interface TemplateContext {
  /** JSON schemas of the functions that the model may call. Some templates distinguish an empty list from none. */
  tools?: readonly unknown[] | null
  /** Further variables of the template, such as `enable_thinking`. */
  templateOptions?: Readonly<Record<string, unknown>>
}

export interface RenderOptions extends TemplateContext {
  /** Appends the opening of an assistant's turn, for the model to continue. */
  addGenerationPrompt: boolean
}

export type { Piece }

/** A Jinja program, run as transformers runs it. */
export class TemplateProgram {
  readonly #program: Program

  /**
   * @param source Jinja
   * @throws Error that names the line and what was expected
   */
  constructor(source: string) {
    this.#program = parse(source.replace(/\r\n?/g, '\n').replace(/\n$/, ''))
  }

  get marking(): Marking {
    return this.#program.marking
  }

  /**
   * Renders the template.
   * @param variables JSON's values by name
   * @throws Error
   */
  write(messages: readonly unknown[], variables: Readonly<Record<string, unknown>>): Piece[] {
    const values = messages.map(toValue)
    const all = new Map<string, Value>(Object.entries(globals))
    for (const [name, value] of Object.entries(variables)) all.set(name, toValue(value))
    all.set('messages', values)
    const output = new Output(values)
    this.#program.run(new Scope(output, all))
    return output.pieces
  }
}

/** Limit of a rendered text [characters], to which `MOST_GROWTH` times the length of its input is added. */
const MOST_CHARACTERS = 2 ** 18
const MOST_GROWTH = 8

/** Joins the texts of all stretches. */
export const textOf = (pieces: readonly Piece[]): string => pieces.map(({ text }) => text).join('')

/**
 * Renders synchronously in this process, without limits of time or memory. `ChatTemplate` renders in a process that has them.
 */
export class CompiledTemplate {
  readonly #program: TemplateProgram | null
  readonly #toolProgram: TemplateProgram | null
  readonly #definition: TemplateDefinition

  /** @throws InputError `malformed-template` */
  constructor(definition: TemplateDefinition) {
    this.#definition = definition
    const { source, toolSource, origin } = definition
    try {
      this.#program = source === null ? null : new TemplateProgram(source)
      this.#toolProgram = toolSource === undefined ? this.#program : new TemplateProgram(toolSource)
    } catch (cause) {
      throw new InputError('malformed-template', `The chat template of ${origin} cannot be read: ${reason(cause)}.`, {
        cause,
      })
    }
  }

  /** @throws InputError `template-failed`, also if the template refuses the conversation */
  render(messages: readonly Message[], options: RenderOptions): string {
    return textOf(this.write(this.accepted(messages, options), options))
  }

  /** Returns the messages in the form that the template takes, for `write`. */
  accepted(messages: readonly Message[], context: TemplateContext = {}): Message[] {
    const render = (form: readonly Message[]) => textOf(this.write(form, { ...context, addGenerationPrompt: false }))
    return acceptedForm(messages, render)
  }

  /**
   * Renders messages unchanged; each stretch of text names the message that wrote it.
   * @throws InputError `template-failed`
   * @throws UsageError `no-chat-template` if there is none for this conversation
   */
  write(messages: readonly Message[], options: RenderOptions): Piece[] {
    const { addGenerationPrompt, tools, templateOptions } = options
    const { specialTokens, origin } = this.#definition
    const program = this.#programFor(options)
    try {
      const pieces = program.write(messages, {
        ...specialTokens,
        documents: null,
        ...templateOptions,
        tools: tools ?? null,
        add_generation_prompt: addGenerationPrompt,
      })
      requireModest(pieces, [messages, tools, templateOptions])
      return pieces
    } catch (cause) {
      throw new InputError(
        'template-failed',
        `The chat template of ${origin} does not accept this conversation: ${reason(cause)}.`,
        { cause },
      )
    }
  }

  /**
   * Returns whether the template for a conversation has `{% generation %}` marks, and whether they are hidden.
   * @throws UsageError `no-chat-template`
   */
  marking(context: TemplateContext): Marking {
    return this.#programFor(context).marking
  }

  #programFor({ tools }: TemplateContext): TemplateProgram {
    const program = tools ? this.#toolProgram : this.#program
    if (program) return program
    throw new UsageError(
      'no-chat-template',
      `${this.#definition.origin} has several chat templates and none named default, so none is for this conversation; name a template file (${theOption('template')}).`,
    )
  }
}

/** Limits the text to tokenise, which takes about 2 s per million characters. */
function requireModest(pieces: readonly Piece[], given: unknown): void {
  const length = pieces.reduce((sum, { text }) => sum + text.length, 0)
  if (length <= MOST_CHARACTERS) return
  const plain = (_: string, value: unknown) =>
    value instanceof Map ? [...value] : typeof value === 'bigint' ? String(value) : value
  if (length <= MOST_CHARACTERS + MOST_GROWTH * JSON.stringify(given, plain).length) return
  throw new Error(`it makes ${length} characters of it, more than ${MOST_GROWTH} times as many as were given`)
}

function reason(cause: unknown): string {
  if (cause instanceof RangeError) return 'it nests too deep, or makes too much text'
  return reasonOf(cause, 'it is not the Jinja that chat templates are written in, or is cut off')
}
