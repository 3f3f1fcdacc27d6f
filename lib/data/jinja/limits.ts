/**
 * Limits of Jinja programs. A chat template comes with a model, from whoever made that: it may loop without end, or make
 * text and lists of any size.
 */
import { Interpreter } from '@huggingface/jinja'
import type { Scope, Value } from './values.js'

/** A part of a parsed program. */
export interface Node {
  readonly type: string
  readonly [part: string]: unknown
}

interface Interprets {
  /** Of the first item of an empty list, undefined. */
  evaluate(node: Node | undefined, scope: Scope): Value
}
const JinjaInterpreter = Interpreter as unknown as new (scope: Scope) => Interprets

/** Of work, in nodes that are evaluated: a few seconds. A round of a loop and 64 characters or items of a result count too. */
const MAX_STEPS = 5e6
const STEPS_OF_A_ROUND = 10
const SIZE_OF_A_STEP = 64
/** Of a text in characters, of a list in items. */
const MAX_TEXT = 2 ** 24
const MAX_ITEMS = 2 ** 16

/** Stops programs that do too much. What a node means is for `compute`, which a subclass may replace. */
export class LimitedInterpreter extends JinjaInterpreter {
  #steps = 0

  override evaluate(node: Node | undefined, scope: Scope): Value {
    this.count(1)
    const value = this.compute(node, scope)
    this.count(sizeOf(value) / SIZE_OF_A_STEP)
    return value
  }

  protected compute(node: Node | undefined, scope: Scope): Value {
    return super.evaluate(node, scope)
  }

  protected count(steps: number): void {
    this.#steps += steps
    if (this.#steps > MAX_STEPS) throw new Error(`it takes more than ${MAX_STEPS} steps`)
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
