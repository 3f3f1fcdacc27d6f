/** Reads options from a YAML file, by the names of the library; flags override them. */
import type { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { isJsonObject } from '../io/json.js'
import { readTextSync } from '../io/open.js'
import { parseYaml } from '../io/yaml.js'
import { type OptionsSchema, optionFacts } from '../schema/option-facts.js'
import { type RawOptions, resolveOptions } from '../schema/parse.js'

/**
 * Reads options by name from the top level of a file, or from under `options` of a run's `run.yaml`, without options that concern
 * one call. Throws a `UsageError` if the file is missing, is not YAML, or is not a mapping.
 */
export function readConfigFile(path: string, schema: OptionsSchema): RawOptions {
  const content = readYaml(path) ?? {}
  if (!isJsonObject(content)) {
    throw new UsageError('malformed-config', `Expected options by name in ${path} but found ${kindOf(content)}.`)
  }
  if (isJsonObject(content.options)) {
    const isOption = (key: string) =>
      Object.hasOwn(schema.shape, key) && optionFacts(schema.shape[key]!).scope !== 'call'
    return given(content.options, isOption)
  }
  return given(content, () => true)
}

/** Removes null values, with which YAML can leave an option out. */
function given(options: RawOptions, isOption: (key: string) => boolean): RawOptions {
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => value !== null && isOption(key)))
}

/** Resolves options from defaults, then the file that `config` names, then flags. The result has no `config`. */
export function resolveWithConfig<S extends OptionsSchema>(schema: S, flags: RawOptions): z.output<S> {
  const { config, ...others } = flags
  const layers = [{ raw: others, source: 'flags' as const }]
  if (typeof config !== 'string') return resolveOptions(schema, layers)
  return resolveOptions(schema, [{ raw: readConfigFile(config, schema), source: { file: config } }, ...layers])
}

function readYaml(path: string): unknown {
  let text: string
  try {
    text = readTextSync(path)
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message
    throw new UsageError('missing-file', `Cannot read the options in ${path}: ${reason}.`, { cause: error })
  }
  try {
    return parseYaml(text)
  } catch (error) {
    throw new UsageError('malformed-config', `${path} is not YAML: ${(error as Error).message}.`, { cause: error })
  }
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`
}
