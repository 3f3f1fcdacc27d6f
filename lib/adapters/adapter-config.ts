import type { z } from 'zod'
import { anObject, requireArgument } from '../arguments.js'
import type { AdapterSchema } from '../options/adapter-options.js'
import { type OptionsSchema, parseOptions } from '../options/index.js'
import type { TargetModules } from './adapter.js'

/** What every method has where it is not told otherwise. */
const DEFAULTS = {
  rank: 8,
  targetModules: 'all-linear' as TargetModules,
  dropout: 0,
  rankPattern: {} as Readonly<Record<string, number>>,
  modulesToSave: [] as readonly string[],
}

/**
 * The part of a configuration that options give, with the defaults that methods share. Options may be a configuration that
 * is changed (`mora({ ...config, rank: 4 })`), so they may name the method. Throws a `UsageError` that names an unknown option
 * or a wrong value.
 */
export function checkedConfig<S extends OptionsSchema & typeof AdapterSchema>(
  schema: S,
  options: object,
): typeof DEFAULTS & Omit<z.output<S>, keyof typeof DEFAULTS> {
  requireArgument('the options of an adapter', options, anObject)
  const { method: _, ...given } = options as { method?: unknown }
  return { ...DEFAULTS, ...parseOptions(schema, given, { source: 'api' }) }
}
