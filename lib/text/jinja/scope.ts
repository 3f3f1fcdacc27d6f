/** The state of a running template: its variables, its loops and its output. */
import { Attributes, equals, type Value } from '../python/values.js'

/** A stretch of a template's output. */
export interface Piece {
  text: string
  /** Index of the message whose round of a loop wrote it; undefined outside of such loops. */
  message: number | undefined
  /** Whether it stands between `{% generation %}` and `{% endgeneration %}`. */
  generated: boolean
}

/** Collects a template's output, and the message that each stretch belongs to. */
export class Output {
  pieces: Piece[] = []
  readonly #messages: ReadonlyMap<Value, number>
  #message: number | undefined
  #generated = false
  /** In a loop over anything but messages: setting a variable to a message makes the round that message's. */
  #findsMessage = false

  /** @param messages recognised by identity in loops */
  constructor(messages: readonly Value[]) {
    this.#messages = new Map(messages.map((message, i) => [message, i]))
  }

  write(text: string): void {
    if (text === '') return
    const last = this.pieces.at(-1)
    const [message, generated] = [this.#message, this.#generated]
    if (last && last.message === message && last.generated === generated) last.text += text
    else this.pieces.push({ text, message, generated })
  }

  /** Marks everything that `run` writes as generated. */
  generating<Result>(run: () => Result): Result {
    const outer = this.#generated
    this.#generated = true
    const result = run()
    this.#generated = outer
    return result
  }

  /** Calls `run` with each item until it returns false. While an item is a message, output belongs to it. */
  eachRound(items: readonly Value[], run: (item: Value, i: number) => boolean): void {
    const [message, findsMessage] = [this.#message, this.#findsMessage]
    for (const [i, item] of items.entries()) {
      const own = this.#messages.get(item)
      this.#message = own ?? message
      this.#findsMessage = own === undefined
      if (!run(item, i)) break
    }
    this.#message = message
    this.#findsMessage = findsMessage
  }

  /** Tells that a variable was set to a value. */
  noticeVariable(value: Value): void {
    if (this.#findsMessage) this.#message = this.#messages.get(value) ?? this.#message
  }
}

/** Variables by name. Variables of outer scopes can be read, but not set. */
export class Scope {
  readonly #variables: Map<string, Value>
  readonly #outer: Scope | undefined

  constructor(
    readonly output: Output,
    variables: Map<string, Value>,
    outer?: Scope,
  ) {
    this.#variables = variables
    this.#outer = outer
  }

  inner(): Scope {
    return new Scope(this.output, new Map(), this)
  }

  get(name: string): Value {
    const value = this.#variables.get(name)
    return value !== undefined || this.#variables.has(name) ? value : this.#outer?.get(name)
  }

  set(name: string, value: Value): void {
    this.#variables.set(name, value)
  }

  /** Runs a block in a scope of its own and returns what it writes, instead of adding it to the output. */
  captured(run: (scope: Scope) => unknown): string {
    const { output } = this
    const { pieces } = output
    output.pieces = []
    run(this.inner())
    const text = output.pieces.map((piece) => piece.text).join('')
    output.pieces = pieces
    return text
  }
}

/** A running loop. */
export class Loop {
  /** Index of the current item. */
  at = 0
  lastChanged: Value[] | undefined

  constructor(readonly items: readonly Value[]) {}

  /** The variable `loop`. */
  get variable(): Attributes {
    return new Attributes((name) => (Object.hasOwn(loopAttributes, name) ? loopAttributes[name]!(this) : undefined))
  }
}

const loopAttributes: Readonly<Record<string, (loop: Loop) => Value>> = {
  index: ({ at }) => BigInt(at + 1),
  index0: ({ at }) => BigInt(at),
  revindex: ({ at, items }) => BigInt(items.length - at),
  revindex0: ({ at, items }) => BigInt(items.length - at - 1),
  first: ({ at }) => at === 0,
  last: ({ at, items }) => at === items.length - 1,
  length: ({ items }) => BigInt(items.length),
  previtem: ({ at, items }) => items[at - 1],
  nextitem: ({ at, items }) => items[at + 1],
  cycle:
    ({ at }) =>
    (args) =>
      args[at % args.length],
  changed: (loop) => (args) => {
    const isSame = loop.lastChanged !== undefined && equals(loop.lastChanged, args)
    loop.lastChanged = args
    return !isSame
  },
}
