/** The options of adapters: the options of every method, and how a method adds its own. */
import { z } from 'zod'
import { check, optionsSchema } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { names, namesOrPattern, numbersByPattern, optionalInteger, optionalReal } from '../../schema/option.js'
import { parseOptions } from '../../schema/parse.js'
import type { OptionFields, TargetModules } from './adapter.js'

/** Heading in help. */
export const newAdapterGroup = 'What is trained:'
const group = newAdapterGroup

export const sharedFields = {
  rank: optionalInteger('parameter budget: as many as a LoRA of this rank', { min: 1, defaultText: '8', group }),
  dropout: optionalReal("probability of dropping elements of the adapter's input", {
    min: 0,
    below: 1,
    defaultText: '0',
    group,
  }),
  targetModules: namesOrPattern(
    'layers that get an adapter: all-linear (every linear layer of the blocks), names, or /regex/',
    'all-linear',
    {
      library: { description: 'layers that get an adapter; all-linear is every linear layer of the blocks' },
      defaultText: 'all-linear',
      group,
    },
  ),
  rankPattern: numbersByPattern('ranks by layer: the end of a path, or a regular expression for it, = a rank', {
    integers: true,
    library: { description: 'ranks by layer: keys are ends of paths, or regular expressions for them' },
    group,
  }),
  modulesToSave: names('modules that are trained whole beside the adapter: embeddings, norms, head, or names', {
    group,
  }),
}

/** The defaults of the options that every method has. */
const DEFAULTS = {
  rank: 8,
  targetModules: 'all-linear' as TargetModules,
  dropout: 0,
  rankPattern: {} as Readonly<Record<string, number>>,
  modulesToSave: [] as readonly string[],
}

type Checked<Fields extends OptionFields, Defaults> = typeof DEFAULTS & {
  readonly [Name in keyof Fields]: Name extends keyof Defaults
    ? Exclude<z.output<Fields[Name]>, undefined>
    : z.output<Fields[Name]>
}

const schemas = new WeakMap<OptionFields, z.ZodObject<Record<string, z.ZodType>>>()

/** The arguments of methods' option functions, whose schemas check the options themselves. */
export const adapterArguments = { options: optionsSchema('the options of an adapter', {}) }

/**
 * Returns the part of a configuration that options give, with the defaults that methods share. `fields` are the schemas of the
 * method's own options, made once, and `defaults` their values where options give none. Options may come from a configuration
 * (`mora({ ...config, rank: 4 })`), so they may name the method. Throws a `UsageError` that names an unknown option or a wrong
 * value.
 */
export function checkedConfig<
  Fields extends OptionFields,
  Defaults extends { readonly [Name in keyof Fields]?: z.output<Fields[Name]> } = { readonly [Name in never]: never },
>(fields: Fields, options: object, defaults?: Defaults): Checked<Fields, Defaults> {
  check({ options }, adapterArguments)
  const { method: _, ...given } = options as { method?: unknown }
  const schema = schemas.get(fields) ?? z.strictObject({ ...sharedFields, ...fields })
  schemas.set(fields, schema)
  return { ...DEFAULTS, ...defaults, ...parseOptions(schema, given) } as Checked<Fields, Defaults>
}

/** Throws if options have a rankPattern, for a method whose files in PEFT's format have none. */
export function requireOneRank(method: string, options: { readonly rankPattern?: object }): void {
  check({ options }, adapterArguments)
  if (Object.keys(options.rankPattern ?? {}).length === 0) return
  throw new UsageError(
    'unsupported-option',
    `${method} has one rank for all layers: PEFT's format knows no ${optionName('rankPattern')}.`,
  )
}
