/** Turns what a user names, a path or an id of the hub, into local files. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fetchChosen, type Wanted } from './chosen-files.js'
import { formatHubId, type HubId, parseHubId } from './id.js'
import { Snapshot, type SnapshotOptions } from './snapshot.js'

/** The origin of a local file or folder on the hub. */
export interface HubOrigin {
  /** `owner/name`, with the file or folder inside it, if any: `owner/name/file.gguf`. */
  readonly id: string
  /** `owner/name`. */
  readonly repository: string
  /** The commit, 40 hexadecimal digits. */
  readonly revision: string
}

export interface Located {
  /** The local path, or the given text if nothing exists there. */
  readonly path: string
  /** Null for a path. */
  readonly origin: HubOrigin | null
  /** A permanent name: the path, or the id with its commit. */
  readonly reference: string
}

/** Parses a text as an id, unless it is an existing path: a path always wins. */
export function hubIdOf(text: string): HubId | null {
  if (existsSync(text)) return null
  const id = parseHubId(text)
  // If a folder has the repository's name, a file of that folder is missing.
  return id && id.path !== null && existsSync(id.repository) ? null : id
}

/**
 * Finds a model, an adapter or a tokenizer, and downloads it if it is a hub id that is not in the cache. A path is returned
 * as it is, whether or not it exists.
 * @throws what `Snapshot.open`, `Snapshot.fetch` and `fetchChosen` throw
 */
export async function locate(text: string, wanted: Wanted, options: SnapshotOptions = {}): Promise<Located> {
  const id = hubIdOf(text)
  if (!id) return { path: text, origin: null, reference: text }
  const snapshot = await Snapshot.open('model', id, options)
  const place = await fetchChosen(wanted, id, snapshot)
  const { commit: revision, folder } = snapshot
  const { repository } = id
  const found = { repository, path: place, variant: null }
  return {
    path: place === null ? folder : join(folder, place),
    origin: { id: formatHubId({ ...found, revision: null }), repository, revision },
    reference: formatHubId({ ...found, revision }),
  }
}
