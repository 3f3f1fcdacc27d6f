/**
 * All ranks go on from the checkpoint of the one that writes. To those that do not have it, that hands over its files and those of
 * what the run had merged, which are there while they are read.
 */
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { writeFileAtomic, writeFully, writeStreamAtomic } from '../../io/atomic.js'
import { removeLeftovers, temporaryBeside } from '../../io/leftovers.js'
import { readExactly, readText, withInputFile } from '../../io/open.js'
import type { Meetings } from '../meetings.js'
import type { Ranks } from '../ranks.js'
import { readCheckpointRecord } from './checkpoint.js'
import { MANIFEST, type ManifestFiles, whyTorn } from './checkpoint-files.js'
import { mergePath, mergesBeside, requireMerge } from './merge-folders.js'
import { findResumePoint, type ResumePoint, runFolderOf } from './resume.js'

/** Most bytes of a file that are on their way at once. */
const PIECE = 2 ** 22

interface ListedFolder {
  /** From the run's folder on. */
  readonly name: string
  readonly manifest: string
}

/** The checkpoint, and what was merged before it. */
type Folders = readonly [ListedFolder, ...ListedFolder[]]

interface Together {
  readonly meetings: Meetings
  readonly ranks: Pick<Ranks, 'writesOutput'>
}

/**
 * On all ranks, the checkpoint that the rank which writes finds in its `folder`, or null. The others read it in their own `folder`, or
 * are handed it where that is another one. What was handed over is removed when the point is disposed of.
 */
export async function findPointOfRanks(
  folder: string | undefined,
  { meetings, ranks: { writesOutput } }: Together,
  notice: (message: string) => void,
): Promise<(ResumePoint & AsyncDisposable) | null> {
  const found = folder && writesOutput ? await findResumePoint(folder, notice) : null
  const text = JSON.stringify(found && (await foldersOf(found)))
  const folders: Folders | null = JSON.parse(Buffer.from(await meetings.hand(Buffer.from(text))).toString())
  if (!folders) return null
  const run = folder && runFolderOf(folder)
  const own = run && (found || (await holds(run, folders))) ? run : null
  const lacking = await meetings.sum([own ? 0 : 1], { drop: false })
  const place = own ?? temporaryBeside(join(tmpdir(), 'mora-checkpoint'), 'tmp')
  const remove = async () => {
    if (!own) await rm(place, { recursive: true }).catch(() => {})
  }
  try {
    if (lacking![0]! > 0) {
      if (!own) await removeLeftovers(tmpdir())
      for (const one of folders) await handOver(one, meetings, { from: found && place, to: own ? null : place })
    }
    const path = join(place, folders[0].name)
    const inOwn = async () => ({ path, record: await readCheckpointRecord(path) })
    const point = found ?? (own ? await inOwn() : await findResumePoint(path, notice))!
    return { ...point, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}

async function foldersOf({ path, record }: ResumePoint): Promise<Folders> {
  const listed = async (folder: string): Promise<ListedFolder> => ({
    name: relative(runFolderOf(path), folder),
    manifest: await readText(join(folder, MANIFEST)),
  })
  const merges: ListedFolder[] = []
  for (let number = 1; number <= record.state.merges; number++) {
    const merge = mergePath(mergesBeside(path), number)
    await requireMerge(merge)
    merges.push(await listed(merge))
  }
  return [await listed(path), ...merges]
}

async function holds(run: string, folders: Folders): Promise<boolean> {
  for (const { name, manifest } of folders) {
    const text = await readText(join(run, name, MANIFEST)).catch(() => null)
    if (text !== manifest || (await whyTorn(join(run, name))) !== null) return false
  }
  return true
}

/** Files of a folder, from the rank that has it in its `from` to those that lack it, and get it into `to`. */
async function handOver(
  { name, manifest }: ListedFolder,
  meetings: Meetings,
  { from, to }: { from: string | null; to: string | null },
): Promise<void> {
  const { files } = JSON.parse(manifest) as { files: ManifestFiles }
  for (const [file, { bytes }] of Object.entries(files)) {
    const inPieces = async (
      own: (start: number, length: number) => Promise<Uint8Array>,
      take = async (_: Uint8Array) => {},
    ) => {
      for (let start = 0; start < bytes; start += PIECE) {
        await take(await meetings.hand(await own(start, Math.min(PIECE, bytes - start))))
      }
    }
    const nothing = async () => new Uint8Array(0)
    if (from) {
      const path = join(from, name, file)
      await withInputFile(path, (handle) => inPieces((start, length) => readExactly(handle, path, start, length)))
    } else if (to) {
      await writeStreamAtomic(join(to, name, file), (handle) => inPieces(nothing, (piece) => writeFully(handle, piece)))
    } else await inPieces(nothing)
  }
  if (to) await writeFileAtomic(join(to, name, MANIFEST), manifest)
}
