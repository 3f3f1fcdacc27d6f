/** Turns user input into checked options; errors name the option, what was expected and what was received. */
import type { z } from 'zod'
import { isObject } from '../common/arguments.js'
import { quoted, UsageError } from '../common/errors.js'
import { camelCase, TheOption } from '../common/option-names.js'
import { shortened } from '../common/printable.js'
import { equivalentOf } from './foreign-names.js'
import { nearest, type OptionSource, optionPlace } from './names.js'
import { type LibraryInput, type OptionFacts, type OptionsSchema, optionDefault, optionFacts } from './option-facts.js'

/** Unchecked options by name. */
export type RawOptions = Readonly<Record<string, unknown>>

/**
 * Checks options and fills in defaults. Throws a `UsageError` for an unknown option (with a suggestion) and for a value
 * of the wrong type or range. A value of `undefined` counts as left out.
 */
export function parseOptions<S extends OptionsSchema>(
  schema: S,
  raw: unknown,
  source: OptionSource = 'api',
): z.output<S> {
  return resolveOptions(schema, [{ raw: checkIsObject(raw, source), source }])
}

/** Like `parseOptions` for several layers; later layers win. Each layer is checked with the names of its own source. */
export function resolveOptions<S extends OptionsSchema>(
  schema: S,
  layers: readonly { raw: RawOptions; source: OptionSource }[],
): z.output<S> {
  const merged: Record<string, unknown> = {}
  for (const { raw, source } of layers) {
    for (const [key, value] of Object.entries(raw)) {
      if (value === undefined) continue
      checkOption(schema, key, value, source)
      merged[key] = value
    }
  }
  return schema.parse(merged) as z.output<S>
}

function checkIsObject(raw: unknown, source: OptionSource): RawOptions {
  if (isObject(raw)) return raw
  const place = typeof source === 'object' ? ` in ${source.file}` : ''
  throw new UsageError('bad-value', `Expected options by name${place} but received ${quoted(raw)}.`)
}

function checkOption(schema: OptionsSchema, key: string, value: unknown, source: OptionSource): void {
  const option = Object.hasOwn(schema.shape, key) ? schema.shape[key] : undefined
  if (!option) throw unknownOption(schema, key, source)
  const facts = optionFacts(option)
  // A default value is accepted, since a run.yaml contains all options.
  if (!mayGive(facts, source) && value !== optionDefault(option)) {
    throw new UsageError(
      'unfit-options',
      `${typeof source === 'object' ? `The option ${optionPlace(key, source)}` : TheOption(key)} is for the command line only; ${facts.instead ?? 'remove it'}.`,
      { option: key },
    )
  }
  if (option.safeParse(value).success) return
  const name = optionPlace(key, source)
  const { expects } = source === 'api' ? { ...facts, ...facts.library } : facts
  const suggestion = typeof value === 'string' ? nearest(value, facts.choices ?? []) : undefined
  throw new UsageError(
    'bad-value',
    `Expected ${expects} for ${name} but received ${quoted(value)}${suggestion ? `; did you mean ${suggestion}?` : '.'}`,
    { option: key },
  )
}

function mayGive({ only }: OptionFacts, source: OptionSource): boolean {
  return only === undefined || source === 'flags' || (only === 'command-line' && source !== 'api')
}

/** Removes the options of the command line only from a command's options, for the library's functions. */
export function forLibrary<S extends OptionsSchema>({ shape }: S, options: z.output<S>): LibraryInput<S> {
  const entries = Object.entries(options).filter(([key]) => optionFacts(shape[key]!).only === undefined)
  return Object.fromEntries(entries) as LibraryInput<S>
}

/** Maximum number of characters of a list of options. */
const MOST_LISTED = 1000

/** Returns the error for an unknown option. `key` is the user's spelling without leading dashes. */
export function unknownOption(schema: OptionsSchema, key: string, source: OptionSource): UsageError {
  const known = Object.keys(schema.shape).filter((name) => mayGive(optionFacts(schema.shape[name]!), source))
  const written = source === 'flags' ? `--${key.replace(/^-+/, '')}` : key
  const place = typeof source === 'object' ? ` in ${source.file}` : ''
  const near = known.includes(camelCase(key)) ? camelCase(key) : (equivalentOf(key, known) ?? nearest(key, known))
  const list = source === 'flags' ? 'see --help for the list.' : `known: ${shortened(known.join(', '), MOST_LISTED)}.`
  const plain = (name: string) => (typeof source === 'object' ? name : optionPlace(name, source))
  const words = near && (known.includes(near) ? plain(near) : inWords(near, source))
  const way = words ? `did you mean ${words}?` : list
  return new UsageError('unknown-option', `Unknown option ${written}${place}; ${way}`, { option: key })
}

/** `--method dora` on the command line, `method: dora` elsewhere. */
function inWords(flags: string, source: OptionSource): string {
  if (source === 'flags') return flags
  return flags.replace(/--([a-z0-9-]+)( [a-z0-9]+$)?/g, (_, name: string, value?: string) =>
    value ? `${camelCase(name)}:${value}` : camelCase(name),
  )
}

/** Converts options to plain values for YAML and JSON: regular expressions between slashes, without undefined values. */
export function plainOptions(options: RawOptions): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, value instanceof RegExp ? String(value) : value]),
  )
}
