/**
 * A folder as a power cut leaves it, from the journal of a process's changes (disk.cpp). Synced data is there: the bytes of a
 * file once the file was synced, names once their folder was. Chance decides about the rest, page by page and name by name,
 * since disks and file systems write in an order of their own.
 */
import { constants, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { RandomStream } from '../../lib/common/random.js'

const PAGE = 4096

/** A page that was written, or the length that a file was cut to. */
type FileChange = { at: number; bytes: Buffer } | { size: number }
/** Names, and what each of them refers to afterwards; null: nothing. A rename is one change. */
type FolderChange = ReadonlyMap<string, Place | null>
type Place = StoredFile | StoredFolder
type Content = Place['now']

/** Content, and what has happened to it since it was last synced. */
class Stored<Content, Change> {
  now: Content
  #synced: Content
  #unsynced: Change[] = []

  constructor(
    content: Content,
    private readonly apply: (content: Content, change: Change) => Content,
  ) {
    this.now = this.#synced = content
  }

  change(change: Change): void {
    this.now = this.apply(this.now, change)
    this.#unsynced.push(change)
  }

  sync(): void {
    this.#synced = this.now
    this.#unsynced = []
  }

  afterCut(survives: () => boolean): Content {
    return this.#unsynced.filter(survives).reduce(this.apply, this.#synced)
  }
}

class StoredFile extends Stored<Buffer, FileChange> {
  constructor(bytes: Buffer = Buffer.alloc(0)) {
    super(bytes, (before, change) => {
      // What lies between is a hole.
      const size = 'size' in change ? change.size : Math.max(before.length, change.at + change.bytes.length)
      const after = Buffer.alloc(size)
      before.copy(after)
      if ('bytes' in change) change.bytes.copy(after, change.at)
      return after
    })
  }

  write(at: number, bytes: Buffer): void {
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + PAGE - ((at + from) % PAGE))
      this.change({ at: at + from, bytes: bytes.subarray(from, to) })
      from = to
    }
  }
}

class StoredFolder extends Stored<ReadonlyMap<string, Place>, FolderChange> {
  constructor(places: ReadonlyMap<string, Place> = new Map()) {
    super(places, (before, change) => {
      const after = new Map(before)
      for (const [name, place] of change) {
        if (place) after.set(name, place)
        else after.delete(name)
      }
      return after
    })
  }

  /** The folder as on a disk, with everything synced. */
  static read(path: string): StoredFolder {
    const places = readdirSync(path, { withFileTypes: true }).map((entry): [string, Place] => {
      const inside = join(path, entry.name)
      return [entry.name, entry.isDirectory() ? StoredFolder.read(inside) : new StoredFile(readFileSync(inside))]
    })
    return new StoredFolder(new Map(places))
  }
}

/** The share of unsynced names and pages that reach the disk: 0 to 1. */
export interface Shares {
  names: number
  bytes: number
}

/** Nothing, a half or everything of each. */
export const drawShares = (random: RandomStream): Shares => ({
  names: random.integer(3) / 2,
  bytes: random.integer(3) / 2,
})

/** Bytes of files by their paths; null is a folder. */
export type Tree = ReadonlyMap<string, Buffer | null>

/** A folder whose changes are tracked. */
export class JournalledFolder {
  readonly #root: StoredFolder
  readonly #open = new Map<number, Place>()

  constructor(private readonly path: string) {
    this.#root = StoredFolder.read(path)
  }

  /** Replays a process's changes; all of them have reached the disk as long as the power is on. */
  replay(journal: Buffer): void {
    for (let offset = 0; offset < journal.length; ) {
      const end = journal.indexOf('\n', offset)
      const [call, ...numbers] = journal.toString('utf8', offset, end).split(' ')
      const [file, number, ...lengths] = numbers.map(Number) as [number, number, number, number]
      const [first, second] = [end + 1, end + 1 + lengths[0]]
      offset = second + lengths[1]
      this.#do(call!, file, number, journal.subarray(first, second), journal.subarray(second, offset))
    }
  }

  /** The folder as the process saw it at its end. */
  get now(): Tree {
    return treeOf(this.#root, (place) => place.now)
  }

  /** The folder after the power cut, with these shares of unsynced data left. */
  afterCut(shares: Shares, random: RandomStream): Tree {
    // A file may have two names.
    const left = new Map<Place, Content>()
    return treeOf(this.#root, (place) => {
      const share = place instanceof StoredFile ? shares.bytes : shares.names
      const content = left.get(place) ?? place.afterCut(() => random.uniform() < share)
      left.set(place, content)
      return content
    })
  }

  #do(call: string, file: number, number: number, first: Buffer, second: Buffer): void {
    const [path, other] = [first.toString(), second.toString()]
    const calls: Record<string, () => void> = {
      open: () => this.#open.set(file, this.#opened(path, number)),
      write: () => (this.#open.get(file) as StoredFile).write(number, first),
      truncate: () => (this.#open.get(file) as StoredFile).change({ size: number }),
      sync: () => this.#open.get(file)!.sync(),
      mkdir: () => this.#name(path, new StoredFolder()),
      remove: () => this.#name(path, null),
      link: () => this.#name(other, this.#find(path)!),
      rename: () => this.#rename(path, other),
    }
    calls[call]!()
  }

  #opened(path: string, flags: number): Place {
    const found = this.#find(path)
    const place = found ?? new StoredFile()
    if (!found) this.#name(path, place)
    if (flags & constants.O_TRUNC) (place as StoredFile).change({ size: 0 })
    return place
  }

  #rename(from: string, to: string): void {
    const [before, after] = [this.#inside(from), this.#inside(to)]
    if (before.folder !== after.folder) throw new Error(`${from} and ${to} are not in one folder.`)
    before.folder.change(
      new Map([
        [before.name, null],
        [after.name, this.#find(from)!],
      ]),
    )
  }

  #name(path: string, place: Place | null): void {
    const { folder, name } = this.#inside(path)
    folder.change(new Map([[name, place]]))
  }

  #inside(path: string): { folder: StoredFolder; name: string } {
    const names = this.#names(path)
    const name = names.pop()!
    return { folder: this.#walk(names) as StoredFolder, name }
  }

  #find(path: string): Place | undefined {
    return this.#walk(this.#names(path))
  }

  #walk(names: readonly string[]): Place | undefined {
    return names.reduce<Place | undefined>(
      (place, name) => (place instanceof StoredFolder ? place.now.get(name) : undefined),
      this.#root,
    )
  }

  #names(path: string): string[] {
    return relative(this.path, path)
      .split('/')
      .filter((name) => name !== '')
  }
}

function treeOf(folder: StoredFolder, look: (place: Place) => Content): Tree {
  const tree = new Map<string, Buffer | null>()
  const add = (place: Place, path: string) => {
    const content = look(place)
    if (Buffer.isBuffer(content)) return void tree.set(path, content)
    if (path !== '') tree.set(path, null)
    for (const [name, inside] of content) add(inside, join(path, name))
  }
  add(folder, '')
  return tree
}

/** Replaces a folder's content by this. */
export function writeTree(folder: string, tree: Tree): void {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true })
  for (const [name, bytes] of tree) {
    if (bytes === null) mkdirSync(join(folder, name))
    else writeFileSync(join(folder, name), bytes)
  }
}

export const readTree = (folder: string): Tree => new JournalledFolder(folder).now
