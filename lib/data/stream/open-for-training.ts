/** Decides which rows are read before training, and which as steps need them. */
import { UsageError } from '../../common/errors.js'
import { unlessAborted } from '../../common/unless-aborted.js'
import type { FindOptions } from '../files/data-files.js'
import { isOfUnknownLength, namesOf, type OpenSource, openSources } from '../sources/open.js'
import type { DataSource } from '../sources/source.js'
import { DEFAULT_SHUFFLE_BUFFER, FIRST_STEPS } from './shuffle-buffer.js'

/** Bytes of files, and rows of an array, that are read whole at most if the number of steps is given: a few seconds' work. */
const MOST_READ_WHOLE = { bytes: 2 ** 23, rows: 10_000 }

interface Wanted {
  batchSize: number
  epochs: number
  maxSteps?: number
  /** Records of a stream among which the next is drawn; 0: all rows are read before training. */
  shuffleBuffer?: number
}

/** The sources of a run. */
interface OpenedForTraining {
  readonly sources: readonly OpenSource[]
  /** As in `Wanted`, with the default of a stream; absent if rows are few, so that nothing needs to be said. */
  readonly shuffleBuffer?: number
}

/**
 * Opens the sources of a run. They are a stream, with a `shuffleBuffer` above 0, if the run says so (by that, or `stop`); or if it
 * says `maxSteps` and files or an array are large, or rows come from an iterable or from standard input, and are more than those of a
 * few steps.
 * @throws UsageError `missing-option` for a stream without `maxSteps`, `unfit-options` for epochs of what can be read only once,
 * and what `openSources` throws
 */
export async function openForTraining(
  data: readonly DataSource[],
  find: FindOptions,
  { batchSize, epochs, maxSteps, shuffleBuffer }: Wanted,
): Promise<OpenedForTraining> {
  const isLong = data.some(isLongArray)
  const isStream = maxSteps !== undefined && shuffleBuffer !== 0 && (shuffleBuffer !== undefined || isLong)
  const sources = await openSources(data, find, { isStream })
  if (sources.length > 1 && sources.some(({ stops, weight }) => stops && weight === undefined)) {
    throw new UsageError(
      'unfit-options',
      'A source of several that says stop needs a weight: without weights, all are one.',
    )
  }
  const isWanted = shuffleBuffer !== 0 && (shuffleBuffer !== undefined || sources.some(({ stops }) => stops))
  const bytes = sources.reduce((sum, source) => sum + (source.bytesRead === undefined ? 0 : source.bytes), 0)
  const isLarge = isLong || bytes > MOST_READ_WHOLE.bytes
  if (maxSteps === undefined) {
    const once = sources.filter(({ isReadOnce }) => isReadOnce)
    if (epochs !== 1 && once.length > 0) {
      throw new UsageError(
        'unfit-options',
        `The rows of ${namesOf(once)} can be read only once, so there are no ${epochs} epochs of them: give maxSteps, or rows that can be read again.`,
      )
    }
    if (!isWanted) return { sources, ...((isLarge || sources.some(isOfUnknownLength)) && { shuffleBuffer: 0 }) }
    throw new UsageError(
      'missing-option',
      `The rows of ${namesOf(sources)} are read as steps need them, so their number is not known: give maxSteps.`,
    )
  }
  if (shuffleBuffer === 0) return { sources, shuffleBuffer }
  const asStream = { shuffleBuffer: shuffleBuffer ?? DEFAULT_SHUFFLE_BUFFER }
  if (isWanted || isLarge) return { sources, ...asStream }
  let isLonger = false
  for (const source of sources.filter(isOfUnknownLength)) {
    if (await unlessAborted(source.hasMoreThan(FIRST_STEPS * batchSize), find.signal)) isLonger = true
  }
  return { sources, ...(isLonger && asStream) }
}

const isLongArray = (source: DataSource): boolean =>
  typeof source !== 'string' &&
  'rows' in source &&
  Array.isArray(source.rows) &&
  source.rows.length > MOST_READ_WHOLE.rows
