/** Jinja programs, as transformers runs them. */
import { globals } from '../jinja/globals.js'
import { Output, type Piece, Scope } from '../jinja/scope.js'
import { type Marking, type Program, parse } from '../jinja/statements.js'
import { toValue, type Value } from '../python/values.js'

export type { Piece } from '../jinja/scope.js'

/** A compiled template. */
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
