/** Checks of paths before the work starts. */
import { existsSync, statSync } from 'node:fs'
import { UsageError } from '../common/errors.js'
import { flagOf } from '../common/option-names.js'
import { hubIdOf, mayBeModel } from '../hub/index.js'
import { whyNoAdapter, whyNoModel } from '../io/folder-kinds.js'
import type { OptionsSchema } from '../options/index.js'
import { type DataSource, pathsOf } from '../rows/sources/source.js'
import { optionFacts } from '../schema/option-facts.js'
import type { RawOptions } from '../schema/parse.js'
import { meaningIn } from './hub-files.js'

/** Throws unless the path exists. */
export function requirePath(key: string, path: string | undefined): void {
  if (path === undefined || existsSync(path)) return
  throw new UsageError('missing-file', `${flagOf(key)}: there is no file or folder "${path}".`)
}

/** Throws unless the path is a folder. */
export function requireFolder(key: string, path: string): void {
  requirePath(key, path)
  if (statSync(path).isDirectory()) return
  throw new UsageError('not-a-folder', `${flagOf(key)}: "${path}" is a file; expected a folder.`)
}

/** Throws unless the path exists or may be a hub id. */
function requirePathOrId(key: string, path: string): void {
  if (existsSync(path) || hubIdOf(path)) return
  throw new UsageError(
    'missing-file',
    `${flagOf(key)}: there is no file or folder "${path}", and a hub id would have the form owner/name.`,
  )
}

/** Throws unless each path exists or may be a hub id; `-` is stdin. */
function requireData(key: string, sources: readonly DataSource[]): void {
  for (const path of pathsOf(sources)) if (path !== '-') requirePathOrId(key, path)
}

/**
 * Throws unless all inputs that options name exist: models (a .gguf file or a folder with config.json), adapters (a folder with
 * adapter_config.json) and data, also by hub id, and files with a template or tools.
 */
export function requireInputs({ shape }: OptionsSchema, options: RawOptions): void {
  for (const [key, value] of Object.entries(options)) {
    const { hub } = optionFacts(shape[key]!)
    if (hub === undefined || value === undefined) continue
    const meaning = meaningIn(hub, options)
    if (meaning.endsWith('-data')) requireData(key, value as DataSource[])
    else if (meaning === 'adapter' || !mayBeModel(value as string)) requirePathOrId(key, value as string)
    if (meaning === 'model') refuse('not-a-model', key, whyNoModel(value as string))
    if (meaning === 'adapter') refuse('not-an-adapter', key, whyNoAdapter(value as string))
  }
  const { template, tools } = options as { template?: string; tools?: string | readonly unknown[] }
  if (template !== 'auto' && template !== 'none') requirePath('template', template)
  if (typeof tools === 'string') requirePath('tools', tools)
}

function refuse(code: string, key: string, why: string | null): void {
  if (why !== null) throw new UsageError(code, `${flagOf(key)}: ${why}.`)
}

/** Throws if an output file is a folder. */
export function requireFileOutput(key: string, path: string | undefined): void {
  if (path === undefined || !existsSync(path) || !statSync(path).isDirectory()) return
  throw new UsageError('not-a-file', `${flagOf(key)}: "${path}" is a folder; expected a file to write.`)
}
