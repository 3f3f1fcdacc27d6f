/** What is known of an option beside its type: one declaration, from which every list of options is derived. */
import { z } from 'zod'

/** What the values of an option are. */
export type OptionKind = 'flag' | 'number' | 'text' | 'choice' | 'list' | 'texts' | 'optional-text'

/** What is known of an option beside its type. */
export interface OptionFacts {
  /** What its values are. */
  kind: OptionKind
  /** One sentence for help. */
  description: string
  /** What a value is called in help: `N`, `FILE`. */
  placeholder: string
  /** What a valid value is, to follow "Expected". */
  expects: string
  /** The default as help shows it, where it is worked out later or a bare value would not say enough. */
  defaultText?: string
  /** The values of a `choice`, in the order of help. */
  choices?: readonly string[]
  /** Whether an option that is given again adds to what it had. */
  adds?: boolean
  /** Heading in help. */
  group?: string
  /** What an id of the hub would name in its place; without, it takes none. */
  hub?: HubMeaning
  /** Whether the option says how a run is called, not what it is: who runs it again does not mean that too. */
  scope?: 'call'
  /** What a resumed run may change; `exact` unless given, and `free` of a call. */
  resume?: ResumeRule
  /** Options without which this one means nothing. */
  needs?: readonly string[]
  /** Who cannot do without it: everybody, or commands only, where a function has it from elsewhere. */
  required?: 'everywhere' | 'by-commands'
  /** Who alone may give it: flags, or the command line with its YAML files. The library refuses both. */
  only?: 'flags' | 'command-line'
}

/**
 * `exact`: another value makes another run. `rounding`: it changes the order of additions at most. `free`: it changes nothing
 * that is computed, or what it leads to (a hash, a device) is compared in its place.
 */
export type ResumeRule = 'exact' | 'rounding' | 'free'

/** Data options also say which split an id means that names none: that depends on what the rows are for. */
export type HubMeaning = 'model' | 'adapter' | 'training-data' | 'evaluation-data' | 'validation-data'

/** A schema of named options; unknown names are errors. */
export type OptionsSchema = z.ZodObject<Record<string, z.ZodType>>

const registry = z.registry<OptionFacts>()

/** Declares the facts of an option's schema. */
export function declare<S extends z.ZodType>(schema: S, facts: OptionFacts): S {
  registry.add(schema, facts)
  return schema
}

/** What was declared beside the schema of an option. */
export function optionFacts(schema: z.ZodType): OptionFacts {
  const facts = registry.get(schema)
  if (!facts) throw new TypeError('Expected a schema that was declared with lib/schema/option.ts.')
  return facts
}

declare const requiredOption: unique symbol
declare const commandLineOption: unique symbol
/** What TypeScript has to know of the facts. Nothing has such a property. */
export type IsRequired = { readonly [requiredOption]: true }
export type IsOfCommandLine = { readonly [commandLineOption]: true }

/** The same option where it must be given. */
export function required<S extends z.ZodType>(schema: S): S & IsRequired {
  return declare(schema.clone(), { ...optionFacts(schema), required: 'everywhere' }) as S & IsRequired
}

/** The same option where commands cannot do without it. */
export function requiredByCommands<S extends z.ZodType>(schema: S): S {
  return declare(schema.clone(), { ...optionFacts(schema), required: 'by-commands' })
}

/** The same option where it is the command line's alone, and about a call. */
export function commandLineOnly<S extends z.ZodType>(
  schema: S,
  only: 'flags' | 'command-line' = 'command-line',
): S & IsOfCommandLine {
  return declare(schema.clone(), { ...optionFacts(schema), only, scope: 'call' }) as S & IsOfCommandLine
}

type NamesOf<S extends OptionsSchema, Mark> = {
  [Name in keyof S['shape']]: S['shape'][Name] extends Mark ? Name : never
}[keyof S['shape']]

/** What a function of the library takes: every option but the command line's own. */
export type LibraryInput<S extends OptionsSchema> = Omit<z.input<S>, NamesOf<S, IsRequired | IsOfCommandLine>> &
  Required<Pick<z.input<S>, NamesOf<S, IsRequired> & keyof z.input<S>>>

/** The default of an option, or undefined when it has none or a computed one. */
export function optionDefault(schema: z.ZodType): unknown {
  const parsed = schema.safeParse(undefined)
  return parsed.success ? parsed.data : undefined
}

/** What a resumed run may change of an option; of a name that no option has, nothing. */
export function resumeRule({ shape }: OptionsSchema, name: string): ResumeRule {
  if (!Object.hasOwn(shape, name)) return 'exact'
  const { scope, resume } = optionFacts(shape[name]!)
  return resume ?? (scope === 'call' ? 'free' : 'exact')
}
