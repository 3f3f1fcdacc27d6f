/** Jinja programs, as transformers runs them. */
import { parse, tokenize } from '@huggingface/jinja'
import { GENERATION, OUTPUT, type Piece, PythonInterpreter } from './jinja/interpreter.js'
import type { Node } from './jinja/node.js'
import { ArrayValue, NewScope, toValue } from './jinja/values.js'

export type { Piece } from './jinja/interpreter.js'

/** A template that was parsed. Throws the library's errors. */
export class TemplateProgram {
  readonly #program: Node

  /** @param source Jinja */
  constructor(source: string) {
    const lines = source.replace(/\r\n?/g, '\n')
    this.#program = parse(tokenize(withMarks(lines), { lstrip_blocks: true, trim_blocks: true })) as unknown as Node
    completeBlocks(this.#program)
  }

  /**
   * What the template writes, in order.
   * @param variables what the template may name: what JSON has, and functions, which are called with plain values
   */
  write(messages: readonly unknown[], variables: Readonly<Record<string, unknown>>): Piece[] {
    const scope = new NewScope()
    const values = messages.map(toValue)
    for (const [name, value] of Object.entries({ ...globals, ...variables })) scope.setVariable(name, toValue(value))
    scope.setVariable('messages', new ArrayValue(values))
    return new PythonInterpreter(scope, values).write(this.#program)
  }
}

/** The parser does not know `{% generation %}`, which transformers does; a call block is read alike. */
const MARK = '_generation_'

function withMarks(source: string): string {
  return source.replace(/\{%(-?)\s*(end)?generation\s*(-?)%\}/g, (_, before, end, after) =>
    end ? `{%${before} endcall ${after}%}` : `{%${before} call ${MARK}() ${after}%}`,
  )
}

const STATEMENTS = new Set(
  'Program If For Set Macro CallStatement FilterStatement Break Continue Comment StringLiteral'.split(' '),
)

/**
 * Expressions that stand in a block are what it writes; loops know whether their variable `loop` is of use.
 * @returns whether a part reads `loop`
 */
function completeBlocks(node: unknown): boolean {
  if (typeof node !== 'object' || node === null) return false
  let readsLoop = (node as Partial<Node>).type === 'Identifier' && (node as Partial<Node>).value === 'loop'
  for (const [name, part] of node instanceof Map ? node : Object.entries(node)) {
    if (Array.isArray(part) && ['body', 'alternate', 'defaultBlock'].includes(name as string)) {
      for (const [i, statement] of part.entries()) part[i] = completed(statement as Node)
    }
    const reads = [name, part].map(completeBlocks)
    readsLoop ||= reads.includes(true)
  }
  if ((node as Partial<Node>).type === 'For') Object.assign(node, { readsLoop })
  return readsLoop
}

function completed(statement: Node): Node {
  const callee = (statement.call as { callee?: { value?: unknown } } | undefined)?.callee
  if (callee?.value === MARK) return { type: GENERATION, body: statement.body }
  return STATEMENTS.has(statement.type) ? statement : { type: OUTPUT, expression: statement }
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
  return Array.from({ length: count }, (_, i) => start + i * step)
}
