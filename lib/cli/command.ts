/** What a command is: options from a schema, checks before work, and the work. */
import type { z } from 'zod'
import type { CommonOptions, OptionSource, OptionsSchema } from '../options/index.js'
import type { Terminal } from './terminal/terminal.js'

export interface CommandResult {
  /** The document of `--json`; undefined when it was printed already. */
  json: unknown
  /** What a person reads instead; empty when everything was printed already. */
  text: string
  /** Whether the text has colours, and what it quotes is printable already. */
  isPrintable?: boolean
  /** 130 when the user stopped the work and its state is saved; 1 or 2 when the result is a failure. */
  exitCode?: 0 | 1 | 2 | 130
}

export interface CommandContext {
  terminal: Terminal
  /** Prints a line for a person on stderr, unless `--quiet`. */
  log(line: string): void
  /** The same of what is worth knowing. */
  note(message: string): void
}

export interface Command<S extends OptionsSchema = OptionsSchema> {
  name: string
  /** One line for `mora --help`. */
  summary: string
  schema: S
  /** Options of every command that make no difference to this one: taken, and not shown in its help. */
  idle?: readonly string[]
  /** Options whose values may stand without their names, in this order. */
  positional?: readonly string[]
  examples: readonly string[]
  /** Finds what does not fit or is missing, before anything is loaded. */
  check(options: z.output<S>, source: OptionSource): void
  run(options: z.output<S>, context: CommandContext): Promise<CommandResult>
}

/** Commands of different options in one list: each only ever sees what its own schema made. */
export type AnyCommand = Omit<Command, 'check' | 'run'> & {
  check(options: CommonOptions, source: OptionSource): void
  run(options: CommonOptions, context: CommandContext): Promise<CommandResult>
}

/** Declares a command. Its schema has the common options, as every command's. */
export function defineCommand<S extends OptionsSchema>(command: Command<S>): AnyCommand {
  return {
    ...command,
    check: (options, source) => command.check(options as z.output<S>, source),
    run: (options, context) => command.run(options as z.output<S>, context),
  }
}
