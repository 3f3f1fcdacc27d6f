/**
 * Jinja programs with limits. A chat template comes with a model, from whoever made that: it may loop without end, or make
 * text and lists of any size.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'

// The package's declarations name its files without their endings, so that TypeScript does not find these.
interface Value {
  readonly value: unknown
}
interface Scope {
  set(name: string, value: unknown): void
}
interface Interprets {
  run(program: object): Value
  /** Of the first item of an empty list, undefined. */
  evaluate(statement: object | undefined, scope: Scope): Value | undefined
}
const NewScope = Environment as unknown as new () => Scope
const JinjaInterpreter = Interpreter as unknown as new (scope: Scope) => Interprets

/** Of work, in nodes that are evaluated: a few seconds. A round of a loop and 64 characters or items of a result count too. */
const MAX_STEPS = 5e6
const STEPS_OF_A_ROUND = 10
const SIZE_OF_A_STEP = 64
/** Of a text in characters, of a list in items. */
const MAX_TEXT = 2 ** 24
const MAX_ITEMS = 2 ** 16

/** A template that was parsed. Throws the library's errors, and its own that say which limit was reached. */
export class TemplateProgram {
  readonly #program: object

  /** @param source Jinja */
  constructor(source: string) {
    this.#program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })) as object
    countRounds(this.#program)
  }

  /** @param variables what the template may name; functions are called with plain values */
  render(variables: Readonly<Record<string, unknown>>): string {
    const scope = new NewScope()
    for (const [name, value] of Object.entries({ ...globals, ...variables })) scope.set(name, value)
    return String(new LimitedInterpreter(scope).run(this.#program).value)
  }
}

class LimitedInterpreter extends JinjaInterpreter {
  #steps = 0

  override evaluate(statement: object | undefined, scope: Scope): Value | undefined {
    this.#count(statement === ROUND ? STEPS_OF_A_ROUND : 1)
    const value = super.evaluate(statement, scope)
    const size = sizeOf(value)
    this.#count(size / SIZE_OF_A_STEP)
    return value
  }

  #count(steps: number): void {
    this.#steps += steps
    if (this.#steps > MAX_STEPS) throw new Error(`it takes more than ${MAX_STEPS} steps`)
  }
}

function sizeOf(result: Value | undefined): number {
  const value = result?.value
  if (typeof value === 'string') return within(value.length, MAX_TEXT, 'characters')
  return Array.isArray(value) ? within(value.length, MAX_ITEMS, 'items') : 0
}

function within(size: number, most: number, what: string): number {
  if (size > most) throw new Error(`it makes more than ${most} ${what}`)
  return size
}

/** Stands at the end of a loop's body, so that its rounds are counted; it gives nothing. */
const ROUND = { type: 'Comment', value: '' }

function countRounds(node: unknown): void {
  if (typeof node !== 'object' || node === null) return
  for (const part of Object.values(node)) countRounds(part)
  const { type, body } = node as { type?: unknown; body?: unknown }
  if (type === 'For' && Array.isArray(body)) body.push(ROUND)
}

const globals = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range,
  raise_exception: (message: unknown) => {
    throw new Error(String(message))
  },
}

/** As Python's. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!Number.isFinite(count)) throw new Error('a range is not one of whole numbers')
  within(count, MAX_ITEMS, 'items')
  return Array.from({ length: count }, (_, i) => start + i * step)
}
