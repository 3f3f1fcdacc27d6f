/** Reads calls in one form. */
import { isObject } from '../../common/arguments.js'
import { type CallForm, type CallPart, JSON_SYNTAX, type TaggedArguments, type ValueSyntax } from './forms.js'
import { type GrowingText, NotACall, type Reading, SPACE } from './growing-text.js'
import { objectOf, readKey, readValue, valueOfRaw, type WrittenValue } from './values.js'

/** A call of a function that a model has written. */
export interface ToolCall {
  /** The call's id, if the model wrote one. */
  id?: string
  /** Name of the function, one of the model's tools. */
  name: string
  /** Arguments by name. */
  arguments: Record<string, unknown>
  /** JSON of the arguments, with the model's spelling of numbers; if the model wrote JSON, its own text. */
  argumentsText: string
}

/** The functions that the model may call: schemas of their parameters by name. */
export type KnownFunctions = ReadonlyMap<string, Readonly<Record<string, unknown>>>

/** Returns the functions of tools, which are in OpenAI's form or just its `function`. */
export function knownFunctions(tools: readonly unknown[] | null | undefined): KnownFunctions {
  const functions = (tools ?? []).map((tool) => (isObject(tool) && isObject(tool.function) ? tool.function : tool))
  return new Map(
    functions.flatMap((one) => {
      if (!isObject(one) || typeof one.name !== 'string') return []
      const { parameters } = one
      return [[one.name, isObject(parameters) && isObject(parameters.properties) ? parameters.properties : {}]]
    }),
  )
}

const WORD = /[-.:\w]*/y
const KEYWORD = /[\p{L}\p{N}_]*/uy

/** The parts of a call that were read so far. */
interface CallDraft {
  id?: string
  name?: string
  arguments?: WrittenValue
}

/** Reads calls. A damaged one throws NotACall. */
export class CallReader {
  readonly #text: GrowingText
  readonly #functions: KnownFunctions

  constructor(text: GrowingText, functions: KnownFunctions) {
    this.#text = text
    this.#functions = functions
  }

  /**
   * Reads a call or a list of calls from its opening on. @param found receives each call as soon as it is complete, and the
   * texts of list items that are no calls
   */
  *read(form: CallForm, found: (item: ToolCall | string) => void): Reading<true> {
    const text = this.#text
    if (form.section && (yield* text.has(form.section[0]))) yield* text.run(SPACE)
    yield* text.expect(form.open)
    if (form.list) yield* this.#list(form, form.list, found)
    else {
      const call = yield* this.#call(form.call)
      if (!(yield* text.has(form.close, true))) throw new NotACall()
      if (form.isWhole) yield* this.#expectEnd()
      found(call)
    }
    if (form.section) yield* this.#maybe(form.section[1])
    return true
  }

  *#list(
    form: CallForm,
    list: readonly [string, string, string],
    found: (item: ToolCall | string) => void,
  ): Reading<void> {
    const text = this.#text
    const [begin, separator, end] = list
    yield* text.run(SPACE)
    yield* text.expect(begin)
    /** Items before the first certain call. */
    const held: (ToolCall | string)[] = []
    let isCertain = false
    do {
      yield* text.run(SPACE)
      const start = text.at
      const item = form.isWhole ? yield* this.#call(form.call) : yield* this.#item(form.call)
      if (item === undefined) {
        if (!isCertain) throw new NotACall()
        text.at = start
        return
      }
      held.push(item)
      isCertain ||= !form.isWhole && typeof item !== 'string'
      if (isCertain) for (const one of held.splice(0)) found(one)
    } while (yield* this.#maybe(separator, false))
    if (form.isWhole) {
      yield* this.#expectEnd()
      for (const one of held) found(one)
    } else if (!isCertain) throw new NotACall()
    else if (yield* this.#maybe(end)) yield* this.#maybe(form.close)
  }

  /** Reads a call, or the JSON in its place; undefined for anything else. */
  *#item(parts: readonly CallPart[]): Reading<ToolCall | string | undefined> {
    const start = this.#text.at
    const attempt = yield* attempted(this.#call(parts))
    if (attempt) return attempt
    this.#text.at = start
    return (yield* attempted(readValue(this.#text, JSON_SYNTAX))) && this.#text.since(start)
  }

  /**
   * Reads optional white space and a literal; returns whether the literal was there. At the end a part of it is enough if
   * `isLast`.
   */
  *#maybe(literal: string, isLast = true): Reading<boolean> {
    const start = this.#text.at
    yield* this.#text.run(SPACE)
    if (yield* this.#text.has(literal, isLast)) return true
    this.#text.at = start
    return false
  }

  *#expectEnd(): Reading<void> {
    yield* this.#text.run(SPACE)
    if (!(yield* this.#text.isAtEnd())) throw new NotACall()
  }

  *#call(parts: readonly CallPart[]): Reading<ToolCall> {
    const draft: CallDraft = {}
    yield* this.#parts(parts, draft)
    const { id, name, arguments: given } = draft
    if (name === undefined || !isObject(given?.value)) throw new NotACall()
    return { ...(id !== undefined && { id }), name, arguments: given.value, argumentsText: given.json }
  }

  *#parts(parts: readonly CallPart[], draft: CallDraft): Reading<void> {
    const text = this.#text
    for (const part of parts) {
      if (typeof part === 'string') yield* text.expect(part)
      else if ('maybe' in part) {
        const [first, ...others] = part.maybe
        if (yield* text.has(first)) yield* this.#parts(others, draft)
      } else if ('id' in part) {
        const start = text.at
        yield* this.#parts(part.id, draft)
        draft.id = text.since(start)
      } else if (part.read === 'space') yield* text.run(SPACE)
      else if (part.read === 'word') yield* text.run(WORD)
      else if (part.read === 'name') draft.name = yield* this.#name()
      else if (part.read === 'call') yield* this.#described(draft)
      else if (part.read === 'arguments') draft.arguments = yield* this.#value(part.syntax)
      else if (part.read === 'keywords') draft.arguments = yield* this.#keywords(part.syntax)
      else draft.arguments = yield* this.#tagged(part.tags, this.#functions.get(draft.name!)!)
    }
  }

  /** Reads the longest known function name at this place. */
  *#name(): Reading<string> {
    const names = [...this.#functions.keys()]
    const text = this.#text
    while (names.some((name) => name.length > text.rest.length && name.startsWith(text.rest)) && (yield* text.more()));
    const found = names.filter((name) => text.rest.startsWith(name)).sort((a, b) => b.length - a.length)[0]
    if (found === undefined) throw new NotACall()
    text.at += found.length
    return found
  }

  /** Reads JSON with the function's name and arguments, and no unknown keys. */
  *#described(draft: CallDraft): Reading<void> {
    const text = this.#text
    const keys = new Set<string>()
    yield* text.expect('{')
    for (yield* text.run(SPACE); !(yield* text.has('}')); yield* text.run(SPACE)) {
      if (keys.size > 0) yield* text.expect(',')
      const key = yield* readKey(text, JSON_SYNTAX)
      const { value, json } = yield* this.#value(JSON_SYNTAX)
      if (keys.has(key)) throw new NotACall()
      keys.add(key)
      if (key === 'name' && this.#functions.has(value as string)) draft.name = value as string
      else if (key === 'id' && typeof value === 'string') draft.id = value
      else if (key === 'arguments' || key === 'parameters') draft.arguments = { value, json }
      else if (key !== 'type' || value !== 'function') throw new NotACall()
    }
  }

  *#value(syntax: ValueSyntax): Reading<WrittenValue> {
    yield* this.#text.run(SPACE)
    const start = this.#text.at
    const { value, json } = yield* readValue(this.#text, syntax)
    return { value, json: syntax === JSON_SYNTAX ? this.#text.since(start) : json }
  }

  *#keywords(syntax: ValueSyntax): Reading<WrittenValue> {
    const text = this.#text
    const entries: [string, WrittenValue][] = []
    do {
      yield* text.run(SPACE)
      const key = yield* text.run(KEYWORD)
      if (key === '') break
      yield* text.run(SPACE)
      yield* text.expect('=')
      entries.push([key, yield* readValue(text, syntax)])
      yield* text.run(SPACE)
    } while (yield* text.has(','))
    return objectOf(entries)
  }

  *#tagged(tags: TaggedArguments, schemas: Readonly<Record<string, unknown>>): Reading<WrittenValue> {
    const text = this.#text
    const entries: [string, WrittenValue][] = []
    for (yield* text.run(SPACE); yield* text.has(tags.key[0]); yield* text.run(SPACE)) {
      const key = yield* text.until(tags.key[1])
      if (tags.value[0] !== '') yield* text.run(SPACE)
      yield* text.expect(tags.value[0])
      const raw = yield* this.#raw(tags)
      const said = tags.lineEnds ? raw.replace(/^\n|\n$/g, '') : raw
      entries.push([key, valueOfRaw(said, Object.hasOwn(schemas, key) ? schemas[key] : undefined)])
    }
    return objectOf(entries)
  }

  /** Reads a raw value and its closing tag, which counts if another argument or the end follows. */
  *#raw({ key, value, end }: TaggedArguments): Reading<string> {
    const text = this.#text
    const start = text.at
    for (;;) {
      yield* text.until(value[1])
      const after = text.at
      yield* text.run(SPACE)
      const isClosed = (yield* text.has(key[0])) || (yield* text.has(end, true))
      text.at = after
      if (isClosed) return text.since(start).slice(0, -value[1].length)
    }
  }
}

/** Returns the result of a reading; undefined if there is no call. */
export function* attempted<T extends {}>(reading: Reading<T>): Reading<T | undefined> {
  try {
    return yield* reading
  } catch (error) {
    if (error instanceof NotACall) return undefined
    throw error
  }
}
