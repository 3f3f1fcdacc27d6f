/** The files of a folder that are read as data. */
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { counted } from '../../common/printable.js'
import { inParallel } from '../../common/task-limit.js'
import { compressionOf } from './decompress.js'
import { DATA_ENDINGS, dataFormat, extensionOf, isText, isUnread } from './formats.js'

/** Value of `extensions` for every known text file. */
const ALL_TEXTS = 'all'

/** Number of bytes at the start of a file in which a NUL shows that the file is not text. */
const EXAMINED_BYTES = 8192
const FILES_AT_ONCE = 16
/** Maximum number of extensions in a message. */
const MOST_SHOWN = 8

/**
 * Returns the paths of a folder's files to read, sorted: the data files, or if there are none, the texts. Hidden files and binary
 * files that are named like texts are left out.
 *
 * @param extensions endings of the files to read instead, such as `.py`, or `all` for every known text
 * @param onWarning receives a sentence about what is read and what is not
 * @throws UsageError `missing-data`
 */
export async function folderFiles(
  folder: string,
  extensions: readonly string[] | undefined,
  onWarning: (message: string) => void = () => {},
): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const names = entries
    .filter((entry) => !entry.isDirectory())
    .map(({ name, parentPath }) => relative(folder, join(parentPath, name)))
    .filter((name) => !/(^|[/\\])\./.test(name))
    .sort()
  const wanted = names.filter(wantedAmong(names, extensions))
  const examined = await inParallel(wanted, FILES_AT_ONCE, async (name) =>
    (await isBinary(join(folder, name))) ? [] : [name],
  )
  const read = examined.flat()
  if (read.length === 0) throw nothingToRead(folder, extensions)
  const isRead = new Set(read)
  const skipped = names.filter((name) => !isRead.has(name))
  const skips = skipped.length === 0 ? '' : `; skips ${skipped.length} (${endings(skipped)})`
  onWarning(`${folder}: reads ${counted(read.length, 'file')} (${endings(read)})${skips}`)
  return read.map((name) => join(folder, name))
}

/** Returns a predicate for the files to read in a folder. */
function wantedAmong(names: readonly string[], extensions: readonly string[] | undefined): (name: string) => boolean {
  const isAnyText = (name: string) => isText(name) || dataFormat(name) === 'text'
  if (extensions) {
    const endings = new Set(extensions.map((one) => one.toLowerCase().replace(/^\.?/, '.')))
    return (name) => endings.has(extensionOf(name)) || (extensions.includes(ALL_TEXTS) && isAnyText(name))
  }
  const isData = (name: string) => isUnread(name) || dataFormat(name) !== undefined
  return names.some((name) => isData(name) && !isAnyText(name)) ? isData : isAnyText
}

/** Tells whether a file that is named like a text has a NUL at its start. */
async function isBinary(path: string): Promise<boolean> {
  if (compressionOf(path) || (dataFormat(path) ?? 'text') !== 'text' || isUnread(path)) return false
  let file: FileHandle | undefined
  try {
    file = await open(path)
    const { bytesRead, buffer } = await file.read(Buffer.alloc(EXAMINED_BYTES), 0, EXAMINED_BYTES, 0)
    return buffer.subarray(0, bytesRead).includes(0)
  } finally {
    await file?.close()
  }
}

/** Counts files by their endings, most first: `.md 10, .txt 2`. */
function endings(names: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) {
    const ending = extensionOf(name) || 'no ending'
    counts.set(ending, (counts.get(ending) ?? 0) + 1)
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a)
  const shown = sorted.slice(0, MOST_SHOWN).map(([ending, count]) => `${ending} ${count}`)
  const others = sorted.slice(MOST_SHOWN).reduce((sum, [, count]) => sum + count, 0)
  return [...shown, ...(others > 0 ? [`others ${others}`] : [])].join(', ')
}

function nothingToRead(folder: string, extensions: readonly string[] | undefined): UsageError {
  const what = extensions
    ? `file with the endings ${extensions.join(', ')} (${theOption('extensions')})`
    : `data file (${DATA_ENDINGS.join(', ')}, compressed or not) and no text (.md, .rst, .py, …)`
  return new UsageError('missing-data', `The folder ${folder} holds no ${what}.`)
}
