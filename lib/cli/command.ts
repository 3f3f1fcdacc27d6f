/** A command: options from a schema, checks before the work, and the work. */
import type { z } from 'zod'
import type { CommonOptions, OptionsSchema } from '../options/index.js'
import type { Terminal } from './terminal/terminal.js'

export interface CommandResult {
  /** The document of `--json`; undefined if it was already printed. */
  json: unknown
  /** Text for people in place of the document; empty if it was already printed. */
  text: string
  /** Whether the text has colours, and quoted text in it is printable already. */
  isPrintable?: boolean
  /** 130 if the user stopped the work and its state is saved; 1 or 2 if the result is a failure. */
  exitCode?: 0 | 1 | 2 | 130
}

export interface CommandContext {
  terminal: Terminal
  /** Prints a line for people on stderr, unless `--quiet`. */
  log(line: string): void
  /** Prints a note in the same way. */
  note(message: string): void
}

interface Command<S extends OptionsSchema = OptionsSchema> {
  name: string
  /** One line for `mora --help`. */
  summary: string
  schema: S
  /** Options of every command that have no effect on this one: accepted, but not shown in its help. */
  idle?: readonly string[]
  /** Options whose values may be given without their names, in this order. */
  positional?: readonly string[]
  examples: readonly string[]
  /** Throws if options do not fit or are missing, before anything is loaded. */
  check(options: z.output<S>): void
  run(options: z.output<S>, context: CommandContext): Promise<CommandResult>
}

/** The common options that have no effect on a command without a model. */
export const OPTIONS_OF_MODELS = ['device', 'threads', 'dtype', 'rotaryDtype', 'allowTf32', 'seed', 'offline'] as const

/** A command with any options, for lists; each command receives only options of its own schema. */
export type AnyCommand = Omit<Command, 'check' | 'run'> & {
  check(options: CommonOptions): void
  run(options: CommonOptions, context: CommandContext): Promise<CommandResult>
}

/** Declares a command. Its schema includes the common options. */
export function defineCommand<S extends OptionsSchema>(command: Command<S>): AnyCommand {
  return {
    ...command,
    check: (options) => command.check(options as z.output<S>),
    run: (options, context) => command.run(options as z.output<S>, context),
  }
}
