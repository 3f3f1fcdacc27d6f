/** Ids of the Hugging Face hub as people write them: `owner/name@revision/path:variant`. */

export interface HubId {
  /** `owner/name`. */
  readonly repository: string
  /** A branch, a tag or a commit; null: `main`. */
  readonly revision: string | null
  /** A file or folder inside the repository; null: all of it. */
  readonly path: string | null
  /** The variant: a quantisation of GGUF files (`Q4_K_M`), a split of data (`test`, `main:test`); null: not given. */
  readonly variant: string | null
}

const SCHEME = /^hf:\/\/(models\/|datasets\/)?/
/** Owner and name: letters, digits, and single `-`, `.` and `_` between them. */
const PART = /(?![^/]*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?/.source
const NAME = new RegExp(`^${PART}$`)
/** `owner/name`, and nothing else. */
export const REPOSITORY = new RegExp(`^${PART}/${PART}$`)
/** The hub's own revisions that have slashes; slashes in the revisions of users are written as %2F. */
const REVISION_WITH_SLASHES = /^refs\/(?:pr|convert)\/[^/]+/
/** Extensions of files: `data/train.jsonl` is a missing path, not a repository called train.jsonl. */
const FILE_NAME = /\.(gguf|safetensors|jsonl?|ndjson|te?xt|[ct]sv|parquet|ya?ml|bin|pt|gz|gzip|br|zstd?|zip|tar)$/i

/**
 * Parses an id; null if the text cannot be one. It may begin with `hf://` (`hf://datasets/`, as in Python's HfFileSystem).
 * The caller checks first whether the text is an existing path.
 */
export function parseHubId(text: string): HubId | null {
  const scheme = SCHEME.exec(text)?.[0] ?? ''
  const { 1: address, 2: variant } = /^(.*?)(?::([\w.-]+(?::[\w.-]+)?))?$/s.exec(text.slice(scheme.length))!
  const [owner, rest] = cut(address!, '/')
  const { 1: name, 2: tail } = /^([^/@]*)(.*)$/s.exec(rest)!
  if (!NAME.test(owner) || !NAME.test(name!)) return null
  const located = revisionAndPath(tail!)
  if (!located) return null
  const isFileName = scheme === '' && tail === '' && FILE_NAME.test(name!)
  return isFileName ? null : { repository: `${owner}/${name}`, ...located, variant: variant ?? null }
}

/** Formats an id as text that `parseHubId` reads. */
export function formatHubId({ repository, revision, path, variant }: HubId): string {
  const at =
    revision === null ? '' : `@${REVISION_WITH_SLASHES.test(revision) ? revision : encodeURIComponent(revision)}`
  const scheme = at === '' && path === null && FILE_NAME.test(repository) ? 'hf://' : ''
  return `${scheme}${repository}${at}${path === null ? '' : `/${path}`}${variant === null ? '' : `:${variant}`}`
}

/** Whether an id may refer to the same thing as `found`, which has a commit and a file. */
export function mayMean(id: HubId, found: HubId): boolean {
  const sameRevision = !isCommit(id.revision) || id.revision === found.revision
  return id.repository === found.repository && sameRevision && (id.path === null || id.path === found.path)
}

/** Whether a revision is a commit's full hash, whose meaning never changes. */
export function isCommit(revision: string | null): revision is string {
  return revision !== null && /^[0-9a-f]{40}$/.test(revision)
}

/** Parses the tail of an id: `@revision/path`, `/path` or nothing; null if it is none of them. */
function revisionAndPath(tail: string): Pick<HubId, 'revision' | 'path'> | null {
  if (!tail.startsWith('@')) return pathOf(tail, null)
  const text = tail.slice(1)
  const written = REVISION_WITH_SLASHES.exec(text)?.[0] ?? cut(text, '/')[0]
  const revision = decoded(written)
  return revision !== null && REVISION.test(revision) ? pathOf(text.slice(written.length), revision) : null
}

function pathOf(text: string, revision: string | null): Pick<HubId, 'revision' | 'path'> | null {
  const path = text.replace(/^\//, '').replace(/\/$/, '')
  if (path === '') return { revision, path: null }
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') ? { revision, path } : null
}

/** Branch names that git allows and that are safe in paths. */
export const REVISION = /^(?=.{1,255}$)(?!\.)[\w.+-]+(?:\/(?!\.)[\w.+-]+)*$/

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** Splits a text at the first separator. */
function cut(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}
