/** Turns a path, an id of the hub or a model of Ollama into local files. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fetchChosen, type Wanted } from './chosen-files.js'
import { formatHubId, type HubId, parseHubId } from './id.js'
import { findOllamaModel, isOllamaName } from './ollama.js'
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
  /** A permanent name: the path, or the id with its commit; for Ollama's models the name. */
  readonly reference: string
  /** For a model that Ollama stores. */
  readonly ollama?: Awaited<ReturnType<typeof findOllamaModel>>
}

/** Whether a text may name a model, although no file or folder has this path. */
export const mayBeModel = (text: string): boolean => hubIdOf(text) !== null || isOllamaName(text)

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
 * @throws what `Snapshot.open`, `Snapshot.fetch`, `fetchChosen` and `findOllamaModel` throw
 */
export async function locate(text: string, wanted: Wanted, options: SnapshotOptions = {}): Promise<Located> {
  if (wanted !== 'adapter' && isOllamaName(text)) {
    const ollama = await findOllamaModel(text)
    return { path: ollama.blobs[0].path, origin: null, reference: text, ollama }
  }
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
