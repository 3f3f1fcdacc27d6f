import { MoraError, UsageError } from '../errors.js'
import { type Pacing, type Subject, sendingFetch } from '../hub/index.js'

type Library = typeof import('@huggingface/hub')

/** A file of this disk, or what is written for the hub. */
export interface Upload {
  readonly name: string
  readonly bytes: number
  readonly content: URL | Blob
}

/** The branch that is uploaded to. */
export class Target {
  readonly #calls: { readonly accessToken: string; readonly hubUrl: string; readonly fetch: typeof fetch }
  readonly #repo: { readonly type: 'model'; readonly name: string }

  constructor(
    private readonly library: Library,
    private readonly subject: Subject,
    token: string,
    private readonly pacing: Pacing,
  ) {
    this.#calls = { accessToken: token, hubUrl: subject.endpoint, fetch: sendingFetch(subject, pacing) }
    this.#repo = { type: 'model', name: subject.repository }
  }

  /** Makes repository and branch where they are not there; returns the names of files that the branch has. */
  async prepare({
    private: isPrivate,
    revision,
  }: {
    private: boolean
    revision?: string | undefined
  }): Promise<string[]> {
    const { library, subject } = this
    const { repository } = subject
    const found = await unless('repository-not-found', this.#look())
    if (found && isPrivate && !found.private) {
      throw new UsageError(
        'unfit-options',
        `The option private does not go with ${repository}, which is there and public.`,
      )
    }
    if (!found) {
      const visibility = isPrivate ? { visibility: 'private' as const } : {}
      await library.createRepo({ ...this.#calls, repo: this.#repo, ...visibility })
    }
    if (revision === undefined) return found?.filePaths ?? []
    const branch = await unless('revision-not-found', this.#look(revision))
    if (!branch) await library.createBranch({ ...this.#calls, repo: this.#repo, branch: revision })
    return branch?.filePaths ?? found?.filePaths ?? []
  }

  #look(revision?: string) {
    const name = this.subject.repository
    const at = revision === undefined ? {} : { revision }
    return this.library.modelInfo({ ...this.#calls, name, additionalFields: ['filePaths'], ...at })
  }

  /** Uploads and commits; returns the commit's hash. */
  async commit(
    uploads: readonly Upload[],
    message: string,
    onProgress: (phase: 'hashing' | 'uploading', file: string, fraction: number) => void,
  ): Promise<string> {
    const { signal } = this.pacing
    const events = this.library.commitIter({
      ...this.#calls,
      repo: this.#repo,
      branch: this.subject.revision,
      title: message,
      operations: uploads.map(({ name, content }) => ({ operation: 'addOrUpdate', path: name, content })),
      // The library never takes its listener away again.
      ...(signal && { abortSignal: AbortSignal.any([signal]) }),
    })
    let next = await events.next()
    for (; !next.done; next = await events.next()) {
      const event = next.value
      if (event.event === 'fileProgress' && event.state !== 'error') onProgress(event.state, event.path, event.progress)
    }
    return next.value!.commit.oid
  }
}

/** Null where it fails with this code. */
async function unless<Result>(code: string, work: Promise<Result>): Promise<Result | null> {
  return work.catch((error: unknown) => {
    if (error instanceof MoraError && error.code === code) return null
    throw error
  })
}
