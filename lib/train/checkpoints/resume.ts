/** All ranks of a run resume from the checkpoint of the first, which sends its files to the ranks that lack it. */
import { rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { InputError } from '../../common/errors.js'
import { writeFileAtomic, writeFully, writeStreamAtomic } from '../../io/atomic.js'
import { removeLeftovers, temporaryBeside } from '../../io/leftovers.js'
import { readExactly, readText, withInputFile } from '../../io/open.js'
import { broadcastJson } from '../../tensor/ranks.js'
import type { RankSync } from '../rank-sync.js'
import { newestIntactCheckpoint, readCheckpointRecord } from './checkpoint.js'
import { MANIFEST, type ManifestFiles, whyTorn } from './checkpoint-files.js'
import { mergePath, mergesBeside, requireMerge } from './merge-folders.js'

/** Maximum number of bytes of a file that are sent at once. */
const PIECE = 2 ** 22

export interface ResumePoint {
  path: string
  record: Awaited<ReturnType<typeof readCheckpointRecord>>
}

interface ListedFolder {
  /** Relative to the run's folder. */
  readonly name: string
  readonly manifest: string
}

/**
 * Returns, on all ranks, the checkpoint that the first finds in its `folder`, or null. Each other rank reads it in its own
 * `folder`, or receives it, with the adapters merged before it, if that folder has another one. Received files are removed
 * with the resume point.
 */
export async function findResumePointOnRanks(
  folder: string | undefined,
  sync: RankSync,
  notice: (message: string) => void,
): Promise<(ResumePoint & AsyncDisposable) | null> {
  const found = folder && sync.isFirst ? await findResumePoint(folder, notice) : null
  const folders = await broadcastJson(sync, found ? await listFolders(found) : [])
  const [checkpoint] = folders
  if (!checkpoint) return null
  const run = folder && runFolderOf(folder)
  const own = run && (found || (await holds(run, folders))) ? run : null
  const lacking = await sync.sum([own ? 0 : 1])
  const place = own ?? temporaryBeside(join(tmpdir(), 'mora-checkpoint'), 'tmp')
  const remove = async () => {
    if (!own) await rm(place, { recursive: true }).catch(() => {})
  }
  try {
    if (!own) await removeLeftovers(tmpdir())
    if (lacking![0]! > 0) for (const one of folders) await sendFolder(one, sync, own ? null : place, found && place)
    const path = join(place, checkpoint.name)
    const point =
      found ?? (own ? { path, record: await readCheckpointRecord(path) } : await findResumePoint(path, notice))
    return { ...point!, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}

/**
 * Returns the checkpoint to resume from: the newest intact one in a run's folder, or `folder` itself if it is a checkpoint.
 * Returns null, with a notice, if there is none.
 */
async function findResumePoint(folder: string, notice: (message: string) => void): Promise<ResumePoint | null> {
  const path = isCheckpoint(folder)
    ? await requireIntact(folder)
    : await newestIntactCheckpoint(join(folder, 'checkpoints'), notice)
  if (path === null) {
    notice(`${folder} has no checkpoint to resume from: the run starts at step 0.`)
    return null
  }
  return { path, record: await readCheckpointRecord(path) }
}

/** Returns the folder of the run that a folder to resume from belongs to. */
export function runFolderOf(folder: string): string {
  return isCheckpoint(folder) ? dirname(dirname(folder)) : folder
}

function isCheckpoint(folder: string): boolean {
  return /^step-\d+$/.test(basename(folder))
}

async function requireIntact(path: string): Promise<string | null> {
  if (!(await stat(path).catch(() => null))) return null
  const problem = await whyTorn(path)
  if (problem === null) return path
  throw new InputError('torn-checkpoint', `The checkpoint ${path} cannot be resumed from: ${problem}.`)
}

/** Returns the folders of a checkpoint and of the adapters merged before it. */
async function listFolders({ path, record }: ResumePoint): Promise<ListedFolder[]> {
  const folders = [path]
  for (let number = 1; number <= record.state.merges; number++) {
    const merge = mergePath(mergesBeside(path), number)
    await requireMerge(merge)
    folders.push(merge)
  }
  const run = runFolderOf(path)
  const list = async (folder: string) => ({
    name: relative(run, folder),
    manifest: await readText(join(folder, MANIFEST)),
  })
  return Promise.all(folders.map(list))
}

async function holds(run: string, folders: readonly ListedFolder[]): Promise<boolean> {
  for (const { name, manifest } of folders) {
    const text = await readText(join(run, name, MANIFEST)).catch(() => null)
    if (text !== manifest || (await whyTorn(join(run, name))) !== null) return false
  }
  return true
}

/**
 * Sends a folder's files from the first rank to all.
 * @param to the run's folder on a rank that lacks them
 * @param from the run's folder on the first rank
 */
async function sendFolder(
  { name, manifest }: ListedFolder,
  sync: RankSync,
  to: string | null,
  from: string | null,
): Promise<void> {
  const { files } = JSON.parse(manifest) as { files: ManifestFiles }
  for (const [file, { bytes }] of Object.entries(files)) {
    const send = async (
      read: (start: number, length: number) => Promise<Uint8Array>,
      write: (piece: Uint8Array) => Promise<unknown>,
    ) => {
      for (let start = 0; start < bytes; start += PIECE)
        await write(await sync.broadcast(await read(start, Math.min(PIECE, bytes - start))))
    }
    const readNothing = async () => new Uint8Array(0)
    const writeNothing = async () => {}
    if (from) {
      const path = join(from, name, file)
      await withInputFile(path, (handle) =>
        send((start, length) => readExactly(handle, path, start, length), writeNothing),
      )
    } else if (to) {
      await writeStreamAtomic(join(to, name, file), (handle) => send(readNothing, (piece) => writeFully(handle, piece)))
    } else await send(readNothing, writeNothing)
  }
  if (to) await writeFileAtomic(join(to, name, MANIFEST), manifest)
}
