/** Parses a model's answer into content, reasoning and calls. */
import { z } from 'zod'
import { anyText, check, expecting, optionsSchema } from '../../common/arguments.js'
import { RunError } from '../../common/errors.js'
import { attempted, CallReader, type KnownFunctions, knownFunctions, type ToolCall } from './calls.js'
import { AnswerForm, type CallForm, type ReasoningTags } from './forms.js'
import { GrowingText, type Reading } from './growing-text.js'

/** A parsed answer. */
export interface ParsedAnswer {
  /** The text for the user. It contains damaged calls unchanged, but no white space next to calls. */
  content: string
  /** The model's thoughts before its answer, if it wrote any. */
  reasoning?: string
  /** The calls, in order. */
  toolCalls: ToolCall[]
}

/** The parts that a piece of an answer added. */
export interface AnswerDelta {
  /** Further content; may be empty. */
  content: string
  /** Further reasoning; may be empty. */
  reasoning: string
  /** Calls that the piece completed. */
  toolCalls: ToolCall[]
}

/** Options for parsing an answer. */
export interface AnswerOptions {
  /** The form of the model's template, as `answerForm` finds it. */
  form: AnswerForm
  /** Schemas of the functions that the model may call. Only these functions are parsed as calls. */
  tools?: readonly unknown[] | null
  /** The beginning of the answer in the generation prompt; default: the form's `prefill`. */
  prefill?: string
}

const answerOptions = optionsSchema('the options of an answer', {
  form: expecting('the form of a template (answerForm finds it)', z.instanceof(AnswerForm)),
  tools: expecting('a list of schemas', z.array(z.unknown()).nullish()),
  prefill: anyText.optional(),
})

/** Text that is passed on in pieces. White space at seams, where tags were removed, is dropped or joins two parts. */
class SaidText {
  #isEmpty = true
  #isAtSeam = false
  /** White space that is passed on when text follows. */
  #space = ''

  /** Whether the text has only white space so far. */
  get isEmpty(): boolean {
    return this.#isEmpty
  }

  /** Adds text and returns the part that can be passed on. */
  write(text: string): string {
    const said = this.#isAtSeam ? text.replace(/^[ \t\r\n]+/, '') : text
    const kept = said.replace(/[ \t\r\n]+$/, '')
    if (this.#isAtSeam && said !== '') {
      this.#space = this.#isEmpty ? '' : this.#space || '\n'
      this.#isAtSeam = false
    }
    if (kept === '') {
      this.#space += said
      return ''
    }
    const passed = this.#space + kept
    this.#space = said.slice(kept.length)
    this.#isEmpty = false
    return passed
  }

  /** Marks the place of a removed tag. */
  seam(): void {
    this.#isAtSeam = true
  }

  /** Ends the text and returns the part that was held back. */
  end(): string {
    return this.#isAtSeam ? '' : this.#space
  }
}

/**
 * Parses an answer that arrives in pieces. Content that may be the beginning of a call is held back; a call is returned when it
 * is complete. All deltas together equal the result of `parseAnswer` for the whole text, however it is cut.
 */
export class AnswerReader {
  readonly #text = new GrowingText()
  readonly #calls: CallReader
  readonly #forms: readonly CallForm[]
  readonly #marks: readonly string[]
  readonly #reasoning: readonly ReasoningTags[]
  /** Tags of reasoning that may stand anywhere. */
  readonly #marked: ReasoningTags | undefined
  readonly #content = new SaidText()
  readonly #thoughts = new SaidText()
  readonly #steps: Reading<void>
  #delta = emptyDelta()
  #hasCalled = false
  #isReasoning = false

  constructor(options: AnswerOptions) {
    check({ options }, { options: answerOptions })
    const { form, tools, prefill = form.prefill } = options
    const functions: KnownFunctions = knownFunctions(tools)
    this.#calls = new CallReader(this.#text, functions)
    this.#forms = functions.size > 0 ? form.syntax.calls : []
    this.#marks = form.syntax.marks ?? []
    this.#marked = form.syntax.marked
    this.#reasoning = form.reasoning
    this.#steps = this.#read()
    this.#text.add(prefill)
    this.#steps.next()
  }

  /** Whether the text so far ends within reasoning. */
  get isReasoning(): boolean {
    return this.#isReasoning
  }

  /**
   * Adds text, with special tokens except the one that ends the answer, and returns the parts that have become certain.
   * @throws RunError `ended`
   */
  push(text: string): AnswerDelta {
    check({ text }, { text: anyText })
    if (this.#text.hasEnded)
      throw new RunError('ended', 'The answer has ended; read the next one with a new AnswerReader.')
    this.#text.add(text)
    return this.#advance()
  }

  /** Ends the answer and returns the parts that were held back. */
  end(): AnswerDelta {
    this.#text.hasEnded = true
    return this.#advance()
  }

  #advance(): AnswerDelta {
    this.#steps.next()
    const delta = this.#delta
    this.#delta = emptyDelta()
    return delta
  }

  *#read(): Reading<void> {
    const text = this.#text
    const whole = this.#forms.filter(({ isWhole }) => isWhole)
    const others = this.#forms.filter(({ isWhole }) => !isWhole)
    const openings = others.flatMap(({ open, section }) => (section ? [section[0], open] : [open]))
    while (!(yield* text.isAtEnd())) {
      text.forget()
      const isStart = this.#content.isEmpty && !this.#hasCalled
      const reasoning = [...(isStart ? this.#reasoning : []), ...(this.#marked ? [this.#marked] : [])]
      if (yield* this.#thought(reasoning)) continue
      if (yield* this.#marksPart()) continue
      if (yield* this.#called(isStart ? [...whole, ...others] : others)) continue
      const tags = [...openings, ...this.#marks, ...reasoning.map(({ open }) => open)]
      this.#delta.content += this.#content.write(text.take(1) + text.plain(tags))
    }
    this.#delta.content += this.#content.end()
  }

  *#thought(tags: readonly ReasoningTags[]): Reading<boolean> {
    const text = this.#text
    for (const { open, close } of tags) {
      if (!(yield* text.has(open))) continue
      this.#content.seam()
      this.#thoughts.seam()
      this.#isReasoning = true
      while (!(yield* text.has(close)) && !(yield* text.isAtEnd())) {
        this.#delta.reasoning += this.#thoughts.write(text.take(1) + text.plain([close]))
        text.forget()
      }
      this.#isReasoning = false
      return true
    }
    return false
  }

  *#marksPart(): Reading<boolean> {
    for (const mark of this.#marks) {
      if (!(yield* this.#text.has(mark))) continue
      this.#content.seam()
      return true
    }
    return false
  }

  *#called(forms: readonly CallForm[]): Reading<boolean> {
    const { at } = this.#text
    for (const form of forms) {
      if (yield* attempted(this.#calls.read(form, (item) => this.#found(item)))) return true
      this.#text.at = at
    }
    return false
  }

  #found(item: ToolCall | string): void {
    this.#content.seam()
    if (typeof item === 'string') this.#delta.content += this.#content.write(item)
    else this.#delta.toolCalls.push(item)
    this.#content.seam()
    this.#hasCalled = true
  }
}

const emptyDelta = (): AnswerDelta => ({ content: '', reasoning: '', toolCalls: [] })

/**
 * Parses a whole answer into content, reasoning and calls.
 *
 * @param text the model's text after the generation prompt, with special tokens except the one that ends the answer
 */
export function parseAnswer(text: string, options: AnswerOptions): ParsedAnswer {
  check({ text, options }, { text: anyText, options: answerOptions })
  const reader = new AnswerReader(options)
  const deltas = [reader.push(text), reader.end()]
  const reasoning = deltas.map((delta) => delta.reasoning).join('')
  return {
    content: deltas.map((delta) => delta.content).join(''),
    ...(reasoning !== '' && { reasoning }),
    toolCalls: deltas.flatMap((delta) => delta.toolCalls),
  }
}
