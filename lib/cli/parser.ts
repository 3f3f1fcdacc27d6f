/** The command line, built from the schemas, so that help and parsing always agree. */
import { Command as Commander, CommanderError, Option } from 'commander'
import { UsageError } from '../common/errors.js'
import { camelCase, flagOf, kebabCase } from '../common/option-names.js'
import { nearest } from '../schema/names.js'
import { type OptionFacts, optionDefault, optionFacts } from '../schema/option-facts.js'
import { type RawOptions, unknownOption } from '../schema/parse.js'
import type { AnyCommand } from './command.js'
import { helpLayout, wrappedExample } from './terminal/help-layout.js'

/** The result of parsing: a command with the given options, or a text to print (help, the version). */
type Parsed = { kind: 'command'; command: AnyCommand; given: Record<string, unknown> } | { kind: 'text'; text: string }

/** Maximum length of a list of choices that help shows in place of a value's name. */
const LONGEST_PLACEHOLDER = 32

/**
 * Parses arguments (without node and script). Values are converted to the option's type if they look like it, but not checked.
 * Throws a `UsageError` for an unknown command or option, a missing value or an extra argument.
 */
export function parseArguments(
  argv: readonly string[],
  commands: readonly AnyCommand[],
  { version, columns = 80 }: { version: string; columns?: number },
): Parsed {
  checkCommandName(argv, commands)
  let parsed: Parsed | undefined
  let output = ''
  const program = buildProgram(commands, { version, columns }, (command, given) => {
    parsed = { kind: 'command', command, given }
  })
  const write = (text: string) => {
    output += text
  }
  for (const part of [program, ...program.commands]) {
    part
      .exitOverride()
      .configureHelp(helpLayout)
      .configureOutput({
        writeOut: write,
        writeErr: () => {},
        getOutHelpWidth: () => columns,
        getErrHelpWidth: () => columns,
      })
  }
  if (argv.length === 0) return { kind: 'text', text: program.helpInformation() }
  try {
    program.parse([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0 || error.code === 'commander.help') return { kind: 'text', text: output }
    throw usageErrorOf(
      error,
      commands.find(({ name }) => name === argv[0]),
    )
  }
  return parsed ?? { kind: 'text', text: output }
}

function checkCommandName([first]: readonly string[], commands: readonly AnyCommand[]): void {
  const known = commands.map(({ name }) => name)
  if (first === undefined || first.startsWith('-') || first === 'help' || known.includes(first)) return
  const near = nearest(first, known)
  const way = near ? `did you mean ${near}?` : `known: ${known.join(', ')}.`
  throw new UsageError('unknown-command', `Unknown command "${first}"; ${way}`)
}

type OnCommand = (command: AnyCommand, given: Record<string, unknown>) => void

interface ProgramFacts {
  version: string
  columns: number
}

function buildProgram(commands: readonly AnyCommand[], facts: ProgramFacts, onCommand: OnCommand): Commander {
  const program = new Commander('mora')
    .description('Fine-tune language models with MoRA and its relatives.')
    .version(facts.version, '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', '\nOptions of a command: mora COMMAND --help')
  for (const command of commands) program.addCommand(buildCommand(command, facts, onCommand))
  return program
}

function buildCommand(command: AnyCommand, { columns }: ProgramFacts, onCommand: OnCommand): Commander {
  const built = new Commander(command.name)
    .description(command.summary)
    .helpOption('--help', 'print this help')
    .allowExcessArguments(false)
  addPositional(built, command, onCommand)
  for (const option of buildOptions(command)) built.addOption(option)
  for (const [key, option] of Object.entries(command.schema.shape)) weighLast(built, key, optionFacts(option))
  if (command.examples.length > 0) {
    const examples = command.examples.map((example) => wrappedExample(example, columns))
    built.addHelpText('after', `\nExamples:\n${examples.join('\n')}`)
  }
  return built
}

/** Adds the action, with options whose values may also be given without a name. */
function addPositional(built: Commander, command: AnyCommand, onCommand: OnCommand): void {
  const { positional = [], schema } = command
  for (const key of positional) {
    const { placeholder } = optionFacts(schema.shape[key]!)
    built.argument(`[${placeholder}]`, `the value of ${flagOf(key)}`)
  }
  built.action((...parsed: unknown[]) => {
    const given = { ...(parsed[positional.length] as RawOptions) }
    for (const [index, key] of positional.entries()) {
      const value = parsed[index]
      if (value === undefined) continue
      if (given[key] !== undefined) {
        const { placeholder } = optionFacts(schema.shape[key]!)
        throw new UsageError(
          'stray-argument',
          `Expected one ${placeholder} but received ${value} and ${flagOf(key)} ${given[key]}.`,
        )
      }
      Object.assign(given, { [key]: value })
    }
    onCommand(command, withWeights(command, given))
  })
}

/** Lets an option set the weight of the last value of another option. */
function weighLast(built: Commander, key: string, { weighs, expects }: OptionFacts): void {
  if (weighs === undefined) return
  built.on(`option:${kebabCase(key)}`, (value: string) => {
    const values = built.getOptionValue(weighs) as (string | { path: string })[] | undefined
    const last = values?.at(-1)
    const flag = flagOf(key)
    if (typeof last !== 'string')
      throw new UsageError('unfit-options', `${flag} ${value} follows the ${flagOf(weighs)} that it weighs.`)
    const weight = Number(value)
    if (!NUMBER.test(value) || weight <= 0)
      throw new UsageError('bad-value', `Expected ${expects} for ${flag} but received ${JSON.stringify(value)}.`)
    built.setOptionValue(weighs, [...values!.slice(0, -1), { path: last, weight }])
  })
}

/** Returns options in which every value has a weight if at least one has; the default weight is 1. */
function withWeights({ schema }: AnyCommand, given: RawOptions): Record<string, unknown> {
  const result = { ...given }
  for (const [key, option] of Object.entries(schema.shape)) {
    const { weighs } = optionFacts(option)
    if (weighs === undefined || result[key] === undefined) continue
    delete result[key]
    const values = result[weighs] as readonly (string | object)[]
    result[weighs] = values.map((value) => (typeof value === 'string' ? { path: value, weight: 1 } : value))
  }
  return result
}

function buildOptions({ schema, idle = [] }: AnyCommand): Option[] {
  return Object.entries(schema.shape).flatMap(([key, option]) => {
    const facts = optionFacts(option)
    const flag = flagOf(key)
    const fallback = optionDefault(option)
    const help = helpOf(facts, fallback)
    const main = new Option(`${flag}${valueName(facts)}`, help).argParser((value, previous) =>
      convert(facts, value, previous),
    )
    // A name may begin with `no` by itself.
    main.negate = false
    main.hideHelp(idle.includes(key))
    if (facts.group) main.helpGroup(facts.group)
    if (facts.kind !== 'flag' && facts.kind !== 'optional-text') return [main]
    // Flags can be negated, so that the command line overrides a file; help shows the form that is useful.
    const positive = facts.kind === 'flag' ? new Option(flag, help).hideHelp(idle.includes(key)) : main
    const negation = new Option(`--no-${kebabCase(key)}`, `turn ${flag} off`).hideHelp(fallback !== true)
    for (const part of [positive, negation]) if (facts.group) part.helpGroup(facts.group)
    return [positive, negation]
  })
}

/** Returns the name of an option's value, with a space before it; empty for a flag. */
export function valueName(facts: OptionFacts): string {
  if (facts.kind === 'flag') return ''
  if (facts.kind === 'optional-text') return ` [${facts.placeholder}]`
  return listedChoices(facts) ? ' <NAME>' : ` <${facts.placeholder}>`
}

/** Returns choices that are too long for a value's name, and are listed after the description instead. */
export function listedChoices({ placeholder, choices }: OptionFacts): readonly string[] | undefined {
  return placeholder.length > LONGEST_PLACEHOLDER ? choices : undefined
}

/** Returns the default of an option in words, or `required`; undefined if there is nothing to say. */
export function defaultWords(facts: OptionFacts, fallback: unknown): string | undefined {
  const { kind, defaultText, required, unless } = facts
  if (required) return unless ? `required without ${flagOf(unless)}` : 'required'
  const silent = fallback === undefined || fallback === false
  return defaultText ?? (silent ? undefined : kind === 'flag' ? 'on' : String(fallback))
}

function helpOf(facts: OptionFacts, fallback: unknown): string {
  const choices = listedChoices(facts)
  const oneOf = choices ? `: ${choices.join(', ')}` : ''
  const standard = defaultWords(facts, fallback)
  const end = standard === undefined ? '' : ` (${facts.required ? '' : 'default: '}${standard})`
  return `${facts.description}${oneOf}${facts.adds ? '; may be repeated' : ''}${end}`
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** Converts the value of one occurrence; text that is not a number stays a string, for the check to report. */
function convert({ kind, adds }: OptionFacts, value: string, previous: unknown): unknown {
  if (kind === 'number') return NUMBER.test(value) ? Number(value) : value
  if (adds) return [...((previous as string[] | undefined) ?? []), value]
  return value
}

function isFlag({ schema }: AnyCommand, name: string): boolean {
  const option = schema.shape[camelCase(name.replace(/^--/, ''))]
  return option !== undefined && optionFacts(option).kind === 'flag'
}

function usageErrorOf(error: CommanderError, command: AnyCommand | undefined): UsageError {
  const message = error.message.replace(/^error: /, '')
  const quoted = /'([^']+)'/.exec(message)?.[1] ?? ''
  if (error.code === 'commander.unknownOption') {
    const [name, value] = quoted.split(/=(.*)/s)
    if (command && value !== undefined && isFlag(command, name!)) {
      return new UsageError(
        'bad-value',
        `Expected no value for ${name} but received ${JSON.stringify(value)}; leave it out, or turn it off with ${name!.replace('--', '--no-')}.`,
      )
    }
    if (command) return unknownOption(command.schema, name!.replace(/^-+/, ''), 'flags')
    return new UsageError('unknown-option', `Unknown option ${quoted}; options follow a command: mora train ${quoted}.`)
  }
  if (error.code === 'commander.optionMissingArgument' && command) {
    const flag = quoted.split(' ')[0]!
    const option = command.schema.shape[camelCase(flag.replace(/^--/, ''))]
    return new UsageError(
      'missing-value',
      `Expected ${option ? optionFacts(option).expects : 'a value'} for ${flag} but received nothing.`,
    )
  }
  if (error.code === 'commander.excessArguments' && command?.positional !== undefined) {
    const { schema, positional } = command
    const expected = positional.map((key) => `one ${optionFacts(schema.shape[key]!).placeholder}`).join(' and ')
    return new UsageError('stray-argument', `Expected ${expected} but received more: mora ${command.name} --help`)
  }
  if (error.code === 'commander.excessArguments') {
    return new UsageError(
      'stray-argument',
      `Expected options only but received more arguments; values follow their option: ${command?.examples[0] ?? 'mora --help'}`,
    )
  }
  return new UsageError('wrong-usage', `${message.replaceAll('\n', ' ')}.`)
}
