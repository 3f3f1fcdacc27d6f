/** Downloads the files of hub ids among a command's options before the work starts. */

import { formatBytes } from '../common/bytes.js'
import { UsageError } from '../common/errors.js'
import { counted } from '../common/printable.js'
import { type DownloadProgress, type HubOptions, hubIdOf, locate } from '../hub/index.js'
import type { CommonOptions, OptionsSchema } from '../options/index.js'
import type { DataPurpose } from '../rows/files/data-files.js'
import { type DataSource, pathsOf, withPaths } from '../rows/sources/source.js'
import { type HubMeaning, optionFacts } from '../schema/option-facts.js'
import { Progress } from './terminal/progress.js'
import type { Terminal } from './terminal/terminal.js'
import { transferPrinter } from './terminal/transfer-line.js'

type DownloadOptions = Pick<CommonOptions, 'quiet' | 'offline'>

const PURPOSES: Partial<Record<HubMeaning, DataPurpose>> = {
  'training-data': 'training',
  'evaluation-data': 'evaluation',
  'validation-data': 'validation',
}

/**
 * Downloads the files of hub ids among the options, shows the progress, and returns the options with the commit (and for data
 * the split) in each id: such an id always means the same files, and they are found in the cache.
 */
export async function fetchHubIds(
  schema: OptionsSchema,
  options: CommonOptions,
  terminal: Terminal,
): Promise<CommonOptions> {
  const given = Object.entries(options).flatMap(([key, value]) => {
    const option = schema.shape[key]
    const meaning = option && optionFacts(option).hub
    if (meaning === undefined || value === undefined) return []
    const sources = [value].flat() as DataSource[]
    return pathsOf(sources).some((path) => path !== '-' && hubIdOf(path)) ? [{ key, value, sources, meaning }] : []
  })
  if (given.length === 0) return options
  const found: Record<string, unknown> = {}
  await showingDownloads(options, terminal, async (hub) => {
    for (const { key, value, sources, meaning } of given) {
      const references = await withPaths(sources, (path) => fetchOne(path, meaningIn(meaning, options), hub))
      found[key] = Array.isArray(value) ? references : references[0]
    }
  })
  return { ...options, ...found }
}

/** Downloads an adapter's base model as named in its file, and returns its id with the commit. */
export async function fetchBase(adapter: string, options: DownloadOptions, terminal: Terminal): Promise<string> {
  const { existingBase } = await import('./inspect/adapter.js')
  const base = await existingBase(adapter, options)
  try {
    return await showingDownloads(options, terminal, (hub) => fetchOne(base, 'model', hub))
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const message = `--model is needed, since the base of ${adapter} cannot be loaded: ${error.message}`
    throw new UsageError(error.code, message, { cause: error })
  }
}

/** Returns the files to download: a run from a configuration has random weights and needs only the model's tokenizer. */
export function meaningIn(meaning: HubMeaning, options: object): HubMeaning | 'tokenizer' {
  return meaning === 'model' && (options as { init?: string }).init !== undefined ? 'tokenizer' : meaning
}

async function fetchOne(text: string, meaning: HubMeaning | 'tokenizer', hub: HubOptions): Promise<string> {
  if (meaning === 'model' || meaning === 'adapter' || meaning === 'tokenizer') {
    return (await locate(text, meaning, hub)).reference
  }
  const { locateData } = await import('../rows/files/data-files.js')
  return (await locateData(text, { purpose: PURPOSES[meaning], ...hub })).reference
}

async function showingDownloads<Result>(
  { quiet, offline }: DownloadOptions,
  { stderr }: Terminal,
  work: (hub: HubOptions) => Promise<Result>,
): Promise<Result> {
  using progress = new Progress(stderr, { quiet })
  const show = transferPrinter(progress, stderr)
  const last = new Map<string, DownloadProgress>()
  const onDownload = (now: DownloadProgress) => {
    last.set(now.repository, now)
    show(now.repository, now)
  }
  const result = await work({ offline, onDownload, onWarning: progress.warn })
  for (const { repository, files, totalBytes } of last.values()) {
    progress.note(`downloaded ${repository}: ${counted(files, 'file')}, ${formatBytes(totalBytes)}`)
  }
  return result
}
