/** The description of an option beside its type: one declaration, from which every list of options is derived. */
import { z } from 'zod'

/** The description of an option beside its type. */
export interface OptionFacts {
  /** Kind of the option's values. */
  kind: 'flag' | 'number' | 'text' | 'choice' | 'list' | 'texts' | 'optional-text'
  /** One sentence for the help text. */
  description: string
  /** Placeholder of a value in help: `N`, `FILE`. */
  placeholder: string
  /** Describes a valid value, to follow "Expected". */
  expects: string
  /** Words for the library, if the words of the command line mention flags or texts. */
  library?: {
    /** One sentence for editors and the reference. */
    description?: string
    /** Describes a valid value, to follow "Expected". */
    expects?: string
  }
  /** The default in help, if it depends on other options or its value alone is not clear. */
  defaultText?: string
  /** The values of a `choice`, in the order of help. */
  choices?: readonly string[]
  /** Whether repeating the option adds values instead of replacing them. */
  adds?: boolean
  /** The option whose last value this one weights, on the command line. */
  weighs?: string
  /** Heading in help. */
  group?: string
  /** Kind of repository that a hub id as the value means; absent: ids are not accepted. */
  hub?: HubMeaning
  /** `call`: the option concerns one call and is not repeated when a run is started again from its `run.yaml`. */
  scope?: 'call'
  /** Whether a resumed run may change it. Default `exact`; `free` for options that concern one call. */
  resume?: ResumeRule
  /** Options that this one requires. */
  needs?: readonly string[]
  /** The objectives that have the option; absent: all. */
  objectives?: readonly string[]
  /** Whether the option must be given: always, or in commands only, if functions get the value in another way. */
  required?: 'everywhere' | 'by-commands'
  /** An option that makes this required one optional. */
  unless?: string
  /**
   * Restricts where the option may be given: in flags only, or on the command line and in its YAML files. The library refuses
   * both.
   */
  only?: 'flags' | 'command-line'
  /** Advice for users of the library who give an option of the command line. Default: remove it. */
  instead?: string
}

/**
 * `exact`: another value makes another run. `rounding`: another value changes only the order of additions. `free`: the value
 * changes no result, or a derived value (a hash, a device) is compared instead.
 */
export type ResumeRule = 'exact' | 'rounding' | 'free'

/** Kind of repository that a hub id means; for data also the split of an id without one. */
export type HubMeaning = 'model' | 'adapter' | 'training-data' | 'evaluation-data' | 'validation-data'

/** A schema of named options; unknown names are errors. */
export type OptionsSchema = z.ZodObject<Record<string, z.ZodType>>

const registry = z.registry<OptionFacts>()

/** Declares the description of an option's schema. */
export function declare<S extends z.ZodType>(schema: S, facts: OptionFacts): S {
  registry.add(schema, facts)
  return schema
}

/** Returns the declared description of an option's schema. */
export function optionFacts(schema: z.ZodType): OptionFacts {
  const facts = registry.get(schema)
  if (!facts) throw new TypeError('Expected a schema that was declared with lib/schema/option.ts.')
  return facts
}

declare const requiredOption: unique symbol
declare const commandLineOption: unique symbol
/** Marks in the types of required and command-line options. No value has such a property. */
export type IsRequired = { readonly [requiredOption]: true }
export type IsOfCommandLine = { readonly [commandLineOption]: true }

/** Returns a copy of an option that must be given. */
export function required<S extends z.ZodType>(schema: S, unless?: string): S & IsRequired {
  return declare(schema.clone(), { ...optionFacts(schema), required: 'everywhere', unless }) as S & IsRequired
}

/** Returns a copy of an option that commands require, except beside the option `unless`. */
export function requiredByCommands<S extends z.ZodType>(schema: S, unless?: string): S {
  return declare(schema.clone(), { ...optionFacts(schema), required: 'by-commands', unless })
}

/** Returns a copy of an option that only the command line has and that concerns one call. */
export function commandLineOnly<S extends z.ZodType>(
  schema: S,
  only: 'flags' | 'command-line' = 'command-line',
  instead?: string,
): S & IsOfCommandLine {
  return declare(schema.clone(), { ...optionFacts(schema), only, instead, scope: 'call' }) as S & IsOfCommandLine
}

/** Returns copies of options under another heading of help. */
export function inGroup<Options extends Record<string, z.ZodType>>(group: string, options: Options): Options {
  const entries = Object.entries(options).map(([name, option]) => [
    name,
    declare(option.clone(), { ...optionFacts(option), group }),
  ])
  return Object.fromEntries(entries) as Options
}

type NamesOf<S extends OptionsSchema, Mark> = {
  [Name in keyof S['shape']]: S['shape'][Name] extends Mark ? Name : never
}[keyof S['shape']]

/** The options of a function of the library: all except options of the command line only. */
export type LibraryInput<S extends OptionsSchema> = Omit<z.input<S>, NamesOf<S, IsRequired | IsOfCommandLine>> &
  Required<Pick<z.input<S>, NamesOf<S, IsRequired> & keyof z.input<S>>>

/** Returns the default of an option, or undefined if it has none or a computed one. */
export function optionDefault(schema: z.ZodType): unknown {
  const parsed = schema.safeParse(undefined)
  return parsed.success ? parsed.data : undefined
}

/** Returns whether a resumed run may change an option; `exact` for unknown names. */
export function resumeRule({ shape }: OptionsSchema, name: string): ResumeRule {
  if (!Object.hasOwn(shape, name)) return 'exact'
  const { scope, resume } = optionFacts(shape[name]!)
  return resume ?? (scope === 'call' ? 'free' : 'exact')
}
