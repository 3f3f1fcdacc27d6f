/** Lists a revision of a repository, its commit and files, from the hub or, without the network, from the cache. */
import { InputError, quoted, RunError } from '../common/errors.js'
import { isJsonObject, parseJson } from '../io/json.js'
import { staysInside } from '../io/paths.js'
import type { CachedRepository } from './cache.js'
import { isCommit } from './id.js'
import { nameOf, type Subject } from './refusals.js'
import { request, wholeBody } from './requests.js'
import { type Pacing, withRetries } from './retry.js'
import type { HubSettings } from './settings.js'

interface Listing {
  readonly commit: string
  /** Paths in the repository, checked to stay inside. */
  readonly files: readonly string[]
}

/** Listings of commits, which never change, so a process requests each once. */
const known = new Map<string, Listing>()

/**
 * Returns null if only the cache may be used and has nothing. If the hub cannot be reached, the cache is used.
 * @throws what `request` throws; InputError `malformed-file` for a malformed answer
 */
export async function listingOf(
  subject: Subject,
  cached: CachedRepository,
  settings: HubSettings,
  pacing: Pacing,
): Promise<Listing | null> {
  if (settings.offline) return fromCache(subject, cached)
  const keyOf = (commit: string) => JSON.stringify([settings.endpoint, cached.folder, commit])
  const before = known.get(keyOf(subject.revision))
  if (before) return before
  try {
    const listing = await ask(subject, settings, pacing)
    known.set(keyOf(listing.commit), listing)
    return listing
  } catch (error) {
    if (!(error instanceof RunError)) throw error
    const listing = await fromCache(subject, cached)
    if (!listing) throw error.code === 'hub-unreachable' ? nowhere(error, subject) : error
    pacing.onWarning(`${error.message} The cache has it, as of commit ${listing.commit}.`)
    known.set(keyOf(listing.commit), listing)
    return listing
  }
}

/** Adds to an error that no such path exists either, since a mistyped path looks like an id. */
function nowhere({ code, message }: RunError, { repository }: Subject): RunError {
  const path = `there is nothing at the path "${repository}", and the cache has nothing of this name`
  return new RunError(code, `${message.replace(/\.$/, '')}; ${path}.`)
}

async function fromCache({ revision }: Subject, cached: CachedRepository): Promise<Listing | null> {
  const commit = await cached.commitOf(revision)
  const files = commit === null ? [] : await cached.files(commit)
  return commit !== null && files.length > 0 ? { commit, files } : null
}

async function ask(subject: Subject, settings: HubSettings, pacing: Pacing): Promise<Listing> {
  const { endpoint, kind, repository, revision } = subject
  const url = `${endpoint}/api/${kind}s/${repository}/revision/${encodeURIComponent(revision)}`
  const source = `The answer of ${endpoint} on ${nameOf(subject)}`
  const receive = async () =>
    wholeBody((await request(settings, url, subject, { signal: pacing.signal })).body(), source)
  const answer = parseJson(String(await withRetries(receive, pacing, { expectAnswer: true })), source)
  const { sha, siblings } = isJsonObject(answer) ? answer : {}
  if (typeof sha !== 'string' || !isCommit(sha) || !Array.isArray(siblings)) {
    throw new InputError(
      'malformed-file',
      `${source} is malformed: expected a commit (sha) and a list of files (siblings).`,
    )
  }
  const files = siblings.map((entry: unknown) => (isJsonObject(entry) ? entry.rfilename : null))
  const odd = files.find((file) => typeof file !== 'string' || !staysInside(file))
  if (odd === undefined) return { commit: sha, files: files as string[] }
  throw new InputError(
    'malformed-file',
    `${source} is refused: it lists the file ${quoted(odd)}, which is not a path inside the repository.`,
  )
}
