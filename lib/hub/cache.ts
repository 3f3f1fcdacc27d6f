/**
 * The hub's cache folder, shared with Python's huggingface_hub and in its layout. Each repository has its contents by hash
 * (`blobs`), the last known commits of branches and tags (`refs`), and a folder of links for each commit (`snapshots`).
 */
import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { makeFolder, writeError, writeFileAtomic } from '../io/atomic.js'
import { readText } from '../io/open.js'
import { linkFile } from '../system/files.js'
import { isCommit } from './id.js'
import type { Subject } from './refusals.js'

export class CachedRepository {
  readonly folder: string
  readonly #locks: string

  constructor(cache: string, { kind, repository }: Pick<Subject, 'kind' | 'repository'>) {
    const name = [`${kind}s`, ...repository.split('/')].join('--')
    this.folder = join(cache, name)
    this.#locks = join(cache, '.locks', name)
  }

  blob(hash: string): string {
    return join(this.folder, 'blobs', hash)
  }

  /** Returns the path of a partial file. No other program has files of this name: it could write to them at any time. */
  partial(hash: string): string {
    return join(this.folder, 'blobs', `${hash}.node-mora.incomplete`)
  }

  lock(hash: string): string {
    return join(this.#locks, `${hash}.node-mora.lock`)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** Returns the commit of a revision as of its last look-up. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return (await isThere(this.snapshot(revision))) ? revision : null
    const commit = await readText(join(this.folder, 'refs', revision)).catch(() => '')
    return isCommit(commit.trim()) ? commit.trim() : null
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return
    // Writing may fail, for instance in a read-only cache; only later offline work needs it.
    await writeFileAtomic(join(this.folder, 'refs', revision), commit).catch(() => {})
  }

  /** Returns the complete files of a commit, by their sorted paths in the repository; empty for an unknown commit. */
  async files(commit: string): Promise<string[]> {
    const folder = this.snapshot(commit)
    const names = await readdir(folder, { recursive: true }).catch(() => [])
    const whole = await Promise.all(
      names.map(async (name) => (await stat(join(folder, name)).catch(() => null))?.isFile()),
    )
    return names.filter((_, index) => whole[index]).sort()
  }

  has(commit: string, file: string): Promise<boolean> {
    return isThere(join(this.snapshot(commit), file))
  }

  async hasBlob(hash: string, size: number): Promise<boolean> {
    return (await sizeOf(this.blob(hash))) === size
  }

  async partialSize(hash: string): Promise<number> {
    return (await sizeOf(this.partial(hash))) ?? 0
  }

  /** Links a downloaded file under its name. */
  async link(commit: string, file: string, hash: string): Promise<void> {
    const path = join(this.snapshot(commit), file)
    const target = relative(dirname(path), this.blob(hash))
    await makeFolder(dirname(path))
    await linkFile(target, path, this.blob(hash)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw writeError(error, path)
    })
  }
}

/** Returns the hub's hash function for a file: sha256 for large files, git's hash (sha1 with a header) for small ones. */
export function contentHash({ hash, size }: { hash: string; size: number }) {
  return hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}

/** Whether a name is such a hash, without which content cannot be verified. */
export function isContentHash(name: string): boolean {
  return /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(name)
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null
}

async function sizeOf(path: string): Promise<number | null> {
  return (await stat(path).catch(() => null))?.size ?? null
}
