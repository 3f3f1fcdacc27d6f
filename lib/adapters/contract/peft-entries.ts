/** Reads and writes entries of `adapter_config.json` by a method's table of them. */
import { InputError, UsageError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import {
  type AdapterConfigBase,
  type AdapterMethod,
  MERGE_WITH_PEFT,
  type PeftEntry,
  type PeftPlace,
  type PeftTable,
  type TargetModules,
} from './adapter.js'
import { fromPython, toPython } from './python-pattern.js'

type Json = Readonly<Record<string, unknown>>

/** Differences between an entry and its option. */
export interface EntryOptions<Value> {
  /** The value for a file without the entry; absent: the entry is required. */
  readonly absent?: Value
  /** Whether the entry is left out if the option has the value `absent`. */
  readonly leftOut?: boolean
  /** Converts the file's value to the option's; default: unchanged. */
  fromFile?(value: Value, place: PeftPlace): Value
  /** Converts the option's value to the file's; default: unchanged. */
  toFile?(value: Value): Value
}

/** An entry that stores one option. */
export type OptionEntry<Name extends string, Value> = Required<PeftEntry<Readonly<Record<Name, Value>>>>

/** Returns a function that makes entries of one option with values of one kind; `expects` follows "expected" in errors. */
const entriesOf =
  <Value>(expects: string, fits: (value: unknown) => boolean, usual: EntryOptions<Value> = {}) =>
  <Name extends string>(option: Name, own: EntryOptions<Value> = {}): OptionEntry<Name, Value> => {
    const { absent, leftOut = false, fromFile = same, toFile = same } = { ...usual, ...own }
    return {
      read(value, place) {
        const { source, key } = place
        const found = value ?? absent
        if (fits(found)) return { [option]: fromFile(found as Value, place) } as Record<Name, Value>
        const shown = value === undefined ? 'none' : JSON.stringify(value)
        // PEFT computes with any number.
        const wayOut = isNumber(value) ? `: ${MERGE_WITH_PEFT}` : ''
        throw new InputError('malformed-file', `${source}: expected ${expects} for ${key} but found ${shown}${wayOut}.`)
      },
      write: ({ [option]: value }) => (leftOut && value === absent ? undefined : toFile(value)),
    }
  }

const placeOf = ({ source, key }: PeftPlace): string => `${source}: ${key}`
const same = <Value>(value: Value): Value => value
const isNumber = (value: unknown): value is number => typeof value === 'number'
const isNames = (value: unknown): boolean => Array.isArray(value) && value.every((name) => typeof name === 'string')

/** A number, required unless `absent` is given. */
export const numberEntry = entriesOf<number>('a number', isNumber)
/** A number above 0. */
export const positiveEntry = entriesOf<number>('a positive number', (value) => isNumber(value) && value > 0)
/** A whole number. */
export const wholeEntry = entriesOf<number>('a whole number', Number.isSafeInteger)

/** Positive numbers by patterns of layers; absent means none. */
export const patternsEntry = entriesOf<Readonly<Record<string, number>>>(
  'positive numbers by regular expressions',
  (value) => isJsonObject(value) && Object.values(value).every((number) => isNumber(number) && number > 0),
  {
    absent: {},
    fromFile: (patterns, place) => withKeys(patterns, (pattern) => fromPython(pattern, placeOf(place))),
    toFile: (patterns) => withKeys(patterns, toPython),
  },
)

const withKeys = (numbers: Readonly<Record<string, number>>, change: (pattern: string) => string) =>
  Object.fromEntries(Object.entries(numbers).map(([pattern, number]) => [change(pattern), number]))

/** A flag; anything but true counts as false. */
export const flagEntry = <Name extends string>(option: Name): OptionEntry<Name, boolean> => ({
  read: (value) => ({ [option]: value === true }) as Record<Name, boolean>,
  write: ({ [option]: value }) => value,
})

const probabilityEntry = entriesOf<number>(
  'a number of at least 0 below 1',
  (value) => isNumber(value) && value >= 0 && value < 1,
  { absent: 0 },
)
/** The option `dropout`; absent means 0. */
export const dropoutEntry = probabilityEntry('dropout')

/** The entries under `node_mora` of a method whose format has no dropout. */
export const ownDropout = { dropout: probabilityEntry('dropout', { leftOut: true }) }

export const positiveWholeEntry = entriesOf<number>(
  'a positive whole number',
  (value) => Number.isInteger(value) && (value as number) > 0,
)
export const rankEntry = positiveWholeEntry('rank')

/**
 * An entry that has no option: the first value is written, and any other than these is refused, since it would change what the
 * adapter computes.
 */
export const onlyEntry = (...supported: readonly unknown[]): Required<PeftEntry<object>> => ({
  read(value, { source, key }) {
    if ((value ?? null) === null || supported.includes(value)) return {}
    throw new UsageError(
      'unsupported-option',
      `${source} has ${key} ${JSON.stringify(value)}, which is not supported: ${MERGE_WITH_PEFT}.`,
    )
  },
  write: () => supported[0],
})

const namesEntry = entriesOf<readonly string[]>('names', isNames, { absent: [] })

const targetsEntry = entriesOf<TargetModules>(
  'names or a regular expression',
  (value) => typeof value === 'string' || isNames(value),
  {
    absent: 'all-linear',
    // A string is a regular expression for whole paths.
    fromFile: (value, place) =>
      typeof value === 'string' && value !== 'all-linear'
        ? new RegExp(`^(?:${fromPython(value, placeOf(place))})$`)
        : value,
  },
)

/** Entries of every method. */
const commonTable: PeftTable = {
  r: rankEntry,
  rank_pattern: patternsEntry('rankPattern'),
  target_modules: targetsEntry('targetModules'),
  modules_to_save: namesEntry('modulesToSave'),
}

/**
 * Reads the options that a method's `adapter_config.json` describes.
 * @throws InputError `malformed-file` that names the file (`source`) and the entry
 */
export const readEntries = ({ peft }: Pick<AdapterMethod, 'peft'>, json: Json, source: string): object =>
  optionsIn({ ...commonTable, ...peft }, json, { json, source })

function optionsIn(table: PeftTable, entries: Json, file: Omit<PeftPlace, 'key'>): object {
  const options = Object.entries(table).map(([key, row]) => {
    const value = entries[key]
    if (isEntry(row)) return row.read?.(value, { ...file, key })
    return isTable(row) ? optionsIn(row, isJsonObject(value) ? value : {}, file) : {}
  })
  return Object.assign({}, ...options)
}

/** Returns the entries of a table for a configuration. */
export function writeEntries(table: PeftTable, config: AdapterConfigBase): Record<string, unknown> {
  const entries = Object.entries(table).map(([key, row]) => {
    if (isEntry(row)) return [key, row.write?.(config)]
    return [key, isTable(row) ? writeEntries(row, config) : row]
  })
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

export const isEntry = (row: PeftTable[string]): row is PeftEntry =>
  typeof row === 'object' && row !== null && [row.read, row.write].some((part) => typeof part === 'function')

export const isTable = (row: PeftTable[string]): row is PeftTable =>
  typeof row === 'object' && row !== null && !isEntry(row)

/** Returns targets in PEFT's form, for an adapter of these layers; `textPrefix` is the base's. */
export function targetsInFile(
  targets: TargetModules,
  layers: readonly string[],
  textPrefix: string | null,
): string | readonly string[] {
  const names = targets === 'all-linear' ? [...new Set(layers.map((name) => name.split('.').at(-1)!))] : targets
  if (!(names instanceof RegExp)) return textPrefix === null ? names : targetsInText(names, layers, textPrefix)
  // PEFT's regular expressions have other flags: list the layers.
  if (/[im]/.test(names.flags)) return layers
  const ofWholePaths = /^\^\(\?:(.*)\)\$$/s.exec(names.source)?.[1]
  return toPython(ofWholePaths ?? `.*(?:${names.source}).*`)
}

/** Returns a regular expression for names in a wrapped text model: as names, they would match layers of its towers too. */
function targetsInText(names: readonly string[], layers: readonly string[], textPrefix: string): string {
  const literal = (name: string) => name.replaceAll('.', '\\.')
  const places = [textPrefix, ...layers.filter((name) => !name.startsWith(textPrefix))].map(literal)
  return `(?=${places.join('|')})(?:.*\\.)?(?:${names.map(literal).join('|')})`
}
