/**
 * Limits of Jinja programs. A chat template comes with a model, from whoever made that: it may loop without end, or make
 * text and lists of any size.
 */
import { Interpreter } from '@huggingface/jinja'
import { isList, isMapping, isText, type Scope, type Value } from './values.js'

/** A part of a parsed program. */
export interface Node {
  readonly type: string
  readonly [part: string]: unknown
}

interface Interprets {
  /** The value of a node: undefined of the first item of an empty list. */
  evaluate(node: Node | undefined, scope: Scope): Value
}
const JinjaInterpreter = Interpreter as unknown as new (scope: Scope) => Interprets

/**
 * The most work, in nodes that are evaluated: a few seconds. A round of a loop, 64 characters or items of a result, and
 * every part of a value that is written, compared or searched count too.
 */
const MAX_STEPS = 5e6
const STEPS_OF_A_ROUND = 10
const SIZE_OF_A_STEP = 64
/** Characters of a text, looked at as a whole, that count as one part. */
const CHARACTERS_OF_A_PART = 32
/** The longest text in characters, and the longest list in items. */
const MAX_TEXT = 2 ** 24
const MAX_ITEMS = 2 ** 16
/** The largest value in parts, those of its parts included: a list that holds another twice has it twice when it is written. */
const MAX_PARTS = 2 ** 22

/** An identifier or an operator. */
export interface Named {
  readonly value: string
}

/** Stops programs that do too much. What a node means is for `compute`, which a subclass may replace. */
export class LimitedInterpreter extends JinjaInterpreter {
  #steps = 0

  override evaluate(node: Node | undefined, scope: Scope): Value {
    this.count(1)
    const value = this.compute(node, scope)
    this.count(sizeOf(value) / SIZE_OF_A_STEP)
    within(partsOf(value), MAX_PARTS, 'parts of a value')
    return value
  }

  protected compute(node: Node | undefined, scope: Scope): Value {
    return super.evaluate(node, scope)
  }

  protected count(steps: number): void {
    this.#steps += steps
    if (this.#steps > MAX_STEPS) throw new Error(`it takes more than ${MAX_STEPS} steps`)
  }

  /** Counts what looking at all of these values takes. */
  protected use(...values: readonly Value[]): void {
    for (const value of values) this.count(partsOf(value))
  }

  protected countRound(): void {
    this.count(STEPS_OF_A_ROUND)
  }
}

function sizeOf(result: Value | undefined): number {
  const value = result?.value
  if (typeof value === 'string') return textWithin(value.length)
  return Array.isArray(value) ? itemsWithin(value.length) : 0
}

/** Nothing changes a list or a mapping once it is there. */
const knownParts = new WeakMap<Value, number>()

/** Counts a list or a mapping itself and all that it holds, as often as it holds it; 32 characters of a text are one. */
function partsOf(value: Value | undefined): number {
  if (isText(value)) return 1 + value.value.length / CHARACTERS_OF_A_PART
  if (!isList(value) && !isMapping(value)) return 1
  const known = knownParts.get(value)
  if (known !== undefined) return known
  let parts = 1
  for (const item of value.value.values()) parts += partsOf(item)
  knownParts.set(value, parts)
  return parts
}

export function textWithin(characters: number): number {
  return within(characters, MAX_TEXT, 'characters')
}

export function itemsWithin(items: number): number {
  return within(items, MAX_ITEMS, 'items')
}

function within(size: number, most: number, what: string): number {
  if (size > most) throw new Error(`it makes more than ${most} ${what}`)
  return size
}
