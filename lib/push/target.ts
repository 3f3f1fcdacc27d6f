import { formatBytes } from '../common/bytes.js'
import { MoraError, quoted, RunError, UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import { keepSecret } from '../common/printable.js'
import { isCommit, nameOf, type Pacing, type Subject, sendingFetch } from '../hub/index.js'

type Library = typeof import('@huggingface/hub')

/** A file to upload: a local file, or content written for the hub. */
export interface Upload {
  readonly name: string
  readonly bytes: number
  readonly content: URL | Blob
}

/** Maximum number of bytes of files inside the commit, which is in memory; large files are uploaded before it. */
const MOST_IN_COMMIT = 2 ** 27

/** The branch to upload to. */
export class Target {
  readonly #calls: { readonly accessToken: string; readonly hubUrl: string; readonly fetch: typeof fetch }
  readonly #repo: { readonly type: 'model'; readonly name: string }

  constructor(
    readonly library: Library,
    readonly subject: Subject,
    token: string,
    readonly pacing: Pacing & { readonly timeout: number },
  ) {
    keepSecret(token)
    const send = sendingFetch(subject, pacing, pacing.timeout)
    this.#calls = { accessToken: token, hubUrl: subject.endpoint, fetch: send }
    this.#repo = { type: 'model', name: subject.repository }
  }

  /** Creates repository and branch if they do not exist; returns the names of the branch's files. */
  async prepare(options: { private: boolean; revision?: string | undefined }): Promise<string[]> {
    const { private: isPrivate, revision } = options
    const { library, subject } = this
    const { repository } = subject
    const found = await nullOn('repository-not-found', this.#look())
    if (found && isPrivate && !found.private) {
      throw new UsageError(
        'unfit-options',
        `${TheOption('private')} does not go with ${repository}, which exists and is public.`,
      )
    }
    if (!found) {
      const visibility = isPrivate ? { visibility: 'private' as const } : {}
      await library.createRepo({ ...this.#calls, repo: this.#repo, ...visibility })
    }
    if (revision === undefined) return found?.filePaths ?? []
    const branch = await nullOn('revision-not-found', this.#look(revision))
    if (!branch) await library.createBranch({ ...this.#calls, repo: this.#repo, branch: revision })
    return branch?.filePaths ?? found?.filePaths ?? []
  }

  #look(revision?: string) {
    const name = this.subject.repository
    const at = revision === undefined ? {} : { revision }
    return this.library.modelInfo({ ...this.#calls, name, additionalFields: ['filePaths'], ...at })
  }

  /**
   * Uploads and commits; returns the commit's hash.
   * @throws RunError `hub-error` also if the hub wants large files inside the commit, or returns no commit
   */
  async commit(
    uploads: readonly Upload[],
    message: string,
    onProgress: (phase: 'hashing' | 'uploading', file: string, fraction: number) => void,
  ): Promise<string> {
    const { signal } = this.pacing
    const events = this.library.commitIter({
      ...this.#calls,
      fetch: this.#boundedFetch(),
      repo: this.#repo,
      branch: this.subject.revision,
      title: message,
      operations: uploads.map(({ name, content }) => ({ operation: 'addOrUpdate', path: name, content })),
      // The library never removes its listener.
      ...(signal && { abortSignal: AbortSignal.any([signal]) }),
    })
    let next = await events.next()
    for (; !next.done; next = await events.next()) {
      const event = next.value
      if (event.event === 'fileProgress' && event.state !== 'error') onProgress(event.state, event.path, event.progress)
    }
    const oid: unknown = next.value?.commit.oid
    if (typeof oid === 'string' && isCommit(oid)) return oid
    const { subject } = this
    throw new RunError(
      'hub-error',
      `The hub's answer to the commit to ${nameOf(subject)} names no commit, but ${quoted(oid)}: see at ${subject.endpoint}/${subject.repository} whether the files have arrived.`,
    )
  }

  /** Limits the bytes inside the commit, into which the library puts every file that the hub does not declare as large. */
  #boundedFetch(): typeof fetch {
    const { fetch: send } = this.#calls
    let inside = 0
    return async (input, init) => {
      const response = await send(input, init)
      if (!/\/preupload\/[^/]+$/.test(String(input))) return response
      const { files: requested } = JSON.parse(String(init?.body)) as { files: { path: string; size: number }[] }
      const { files } = (await response.clone().json()) as { files: { path: string; uploadMode: string }[] }
      const large = new Set(files.filter(({ uploadMode }) => uploadMode === 'lfs').map(({ path }) => path))
      const small = requested.filter(({ path }) => !large.has(path)).sort((a, b) => b.size - a.size)
      inside += small.reduce((sum, { size }) => sum + size, 0)
      if (inside <= MOST_IN_COMMIT) return response
      const [{ path, size }] = small as [(typeof small)[number]]
      throw new RunError(
        'hub-error',
        `The hub wants ${formatBytes(inside)} inside the commit itself, ${formatBytes(size)} of it in ${quoted(path)}, but the limit is ${formatBytes(MOST_IN_COMMIT)}: this hub does not take large files.`,
      )
    }
  }
}

/** Returns the result of `work`, or null if it fails with this code. */
async function nullOn<Result>(code: string, work: Promise<Result>): Promise<Result | null> {
  return work.catch((error: unknown) => {
    if (error instanceof MoraError && error.code === code) return null
    throw error
  })
}
