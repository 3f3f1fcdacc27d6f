/** Checks the places where models, adapters and files are written. */
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { isWithin } from './paths.js'

/** Files and folders of training, which nothing else replaces, whatever `overwrite` says. */
const TRAINING = ['run.yaml', 'checkpoints', 'weights.safetensors']

/**
 * Throws if an output is a file in place of a folder or the reverse, contains an input, the working directory or a run, or
 * (without `overwrite`) exists and is not an empty folder. `kind` is a file, or the folder of a model or an adapter.
 */
export function requireFreeOutput(
  kind: 'file' | 'model' | 'adapter',
  output: string,
  { inputs, overwrite = false }: { inputs: readonly (string | null | undefined)[]; overwrite?: boolean | undefined },
): void {
  const asked = kind === 'file' ? 'file' : 'folder'
  const refuse = (code: string, why: string, wayOut = '') => {
    const place = `${optionName('output')}: "${output}"`
    throw new UsageError(code, `${place} ${why}; choose another ${asked}${wayOut}.`)
  }
  const real = realPath(output)
  // Another folder would take its place, and every process in it would be left without one.
  if (kind !== 'file' && isWithin(process.cwd(), real))
    refuse('unfit-options', 'is the working directory, or a folder above it')
  // An input that does not exist may be a hub id, or a file that is read if it is there.
  const isAtRisk = (input: string) => (kind === 'file' || existsSync(input)) && isWithin(realPath(input), real)
  const threatened = inputs.find((input) => input && isAtRisk(input))
  if (threatened) refuse('unfit-options', `would replace "${threatened}", which is read meanwhile`)
  if (!existsSync(output)) return
  const isFolder = statSync(output).isDirectory()
  if (isFolder !== (asked === 'folder')) {
    const found = isFolder ? 'folder' : 'file'
    throw new UsageError('bad-value', `${optionName('output')}: "${output}" is a ${found}; expected a ${asked}.`)
  }
  const files = isFolder ? readdirSync(output) : []
  if (isFolder) {
    const kept = [...TRAINING, ...(kind === 'model' ? ['adapter_config.json'] : [])]
    const found = kept.find((name) => files.includes(name))
    if (found) refuse('output-exists', `holds what was trained (${found})`)
  }
  if (overwrite || (isFolder && files.length === 0)) return
  refuse('output-exists', isFolder ? 'is not empty' : 'is there already', ` or give ${optionName('overwrite', true)}`)
}

/** Resolves symbolic links in the part of a path that exists. */
function realPath(path: string): string {
  const full = resolve(path)
  if (full === dirname(full)) return full
  try {
    return realpathSync(full)
  } catch {
    return join(realPath(dirname(full)), basename(full))
  }
}
