/** The description of an option beside its type: one declaration, from which every list of options is derived. */
import { z } from 'zod'

/** Kind of an option's values. */
export type OptionKind = 'flag' | 'number' | 'text' | 'choice' | 'list' | 'texts' | 'optional-text'

/** The description of an option beside its type. */
export interface OptionFacts {
  /** Kind of its values. */
  kind: OptionKind
  /** One sentence for help. */
  description: string
  /** Placeholder of a value in help: `N`, `FILE`. */
  placeholder: string
  /** Describes a valid value, to follow "Expected". */
  expects: string
  /** The words of the library, where those of the command line are about flags and texts. */
  library?: {
    /** One sentence for editors and the reference. */
    description?: string
    /** Describes a valid value, to follow "Expected". */
    expects?: string
  }
  /** The default in help, if it depends on other options or its value alone would not say enough. */
  defaultText?: string
  /** The values of a `choice`, in the order of help. */
  choices?: readonly string[]
  /** Whether repeating the option adds values instead of replacing them. */
  adds?: boolean
  /** The option whose last value this one weighs, on the command line. */
  weighs?: string
  /** Heading in help. */
  group?: string
  /** What a hub id given as its value refers to; absent: ids are not accepted. */
  hub?: HubMeaning
  /** `call`: the option concerns one call and is not repeated when a run is started again from its `run.yaml`. */
  scope?: 'call'
  /** Whether a resumed run may change it. Default `exact`; `free` for options that concern one call. */
  resume?: ResumeRule
  /** Options that this one requires. */
  needs?: readonly string[]
  /** The objectives that have it; absent: all. */
  objectives?: readonly string[]
  /** Whether it must be given: always, or by commands only, if functions get the value in another way. */
  required?: 'everywhere' | 'by-commands'
  /** An option beside which it need not be given, although it is required. */
  unless?: string
  /** Restricts where it may be given: in flags only, or on the command line and in its YAML files. The library refuses both. */
  only?: 'flags' | 'command-line'
  /** What to do in the library instead, for an option that only the command line has. Default: remove it. */
  instead?: string
}

/**
 * `exact`: a changed value makes another run. `rounding`: it changes only the order of additions. `free`: it changes no result,
 * or something derived from it (a hash, a device) is compared instead.
 */
export type ResumeRule = 'exact' | 'rounding' | 'free'

/** What a hub id refers to; for data, also which split an id without one means. */
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
export function required<S extends z.ZodType>(schema: S): S & IsRequired {
  return declare(schema.clone(), { ...optionFacts(schema), required: 'everywhere' }) as S & IsRequired
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

/** The options of a function of the library: all except those of the command line only. */
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
