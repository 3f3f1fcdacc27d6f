/** A repository at one commit: its listing and its local files. */
import { mkdir } from 'node:fs/promises'
import { aFlag, aFunction, aSignal } from '../common/arguments.js'
import { RunError, UsageError } from '../common/errors.js'
import { theOption } from '../common/option-names.js'
import { inParallel } from '../common/task-limit.js'
import { writeError } from '../io/atomic.js'
import { requireFreeSpace } from '../io/disk-space.js'
import { CachedRepository, isContentHash } from './cache.js'
import { downloadFile, type RemoteFile } from './download.js'
import type { HubId } from './id.js'
import { listingOf } from './listing.js'
import { capital, nameOf, type Subject } from './refusals.js'
import { request } from './requests.js'
import { type Pacing, withRetries } from './retry.js'
import { type HubSettings, hubSettings } from './settings.js'

/** Number of files requested at the same time. */
const AT_ONCE = 4

/** Progress of the download of a repository. */
export interface DownloadProgress {
  /** `owner/name`. */
  readonly repository: string
  /** Number of bytes done, including an interrupted earlier download. */
  readonly doneBytes: number
  /** Bytes of all files that are needed. */
  readonly totalBytes: number
  /** Number of files that are needed. */
  readonly files: number
}

/** Options for looking up and downloading models, adapters and data of the Hugging Face hub. */
export interface HubOptions {
  /** Look hub ids up in the cache only, without the network; `HF_HUB_OFFLINE=1` does the same. */
  offline?: boolean
  /** Called while files of the hub are downloaded. */
  onDownload?: (progress: DownloadProgress) => void
  /** Called with each notice for the user. */
  onWarning?: (message: string) => void
  /** Aborting it ends the work with the signal's reason. Bytes that were downloaded are kept for the next time. */
  signal?: AbortSignal
}

/** Schemas of `HubOptions`. */
export const hubKinds = {
  offline: aFlag.optional(),
  onDownload: aFunction.optional(),
  onWarning: aFunction.optional(),
  signal: aSignal.optional(),
} as const

/** `HubOptions`, with options that only tests change. */
export interface SnapshotOptions extends HubOptions, Partial<Pick<Pacing, 'pause'>> {
  settings?: HubSettings
}

export class Snapshot {
  /** The requested revision. */
  readonly #asked: string
  readonly #cached: CachedRepository
  readonly #settings: HubSettings
  readonly #options: SnapshotOptions & Pacing

  private constructor(
    /** The repository, with the commit as its revision. */
    readonly subject: Subject,
    /** Paths in the repository; without the network, the paths in the cache. */
    readonly files: readonly string[],
    asked: string,
    cached: CachedRepository,
    settings: HubSettings,
    options: SnapshotOptions & Pacing,
  ) {
    this.#asked = asked
    this.#cached = cached
    this.#settings = settings
    this.#options = options
  }

  /**
   * Resolves an id to its current commit; if the hub cannot be reached, to the last known one.
   * @throws UsageError `repository-not-found`, `revision-not-found`, `gated-repository`, `forbidden`, `bad-token`,
   * `not-cached`; RunError `hub-unreachable`, `hub-error`, `rate-limited`
   */
  static async open(kind: Subject['kind'], id: HubId, options: SnapshotOptions = {}): Promise<Snapshot> {
    const settings = options.settings ?? hubSettings(options.offline)
    const asked = id.revision ?? 'main'
    const subject = { kind, repository: id.repository, revision: asked, file: null, endpoint: settings.endpoint }
    const cached = new CachedRepository(settings.cache, subject)
    const complete = { onWarning: () => {}, ...options }
    const listing = await listingOf(subject, cached, settings, complete)
    if (!listing) throw notCached(subject, settings, 'nothing of')
    return new Snapshot({ ...subject, revision: listing.commit }, listing.files, asked, cached, settings, complete)
  }

  get commit(): string {
    return this.subject.revision
  }

  /** The folder with the files at their paths. */
  get folder(): string {
    return this.#cached.snapshot(this.commit)
  }

  /** `the model owner/name`, for messages. */
  get name(): string {
    return nameOf(this.subject)
  }

  /**
   * Downloads files of the repository to `folder`, where they appear in order once all are complete and verified.
   * @throws RunError `disk-full` before anything is downloaded, and what `downloadFile` throws
   */
  async fetch(paths: readonly string[]): Promise<void> {
    const present = await Promise.all(paths.map((path) => this.#cached.has(this.commit, path)))
    const absent = paths.filter((_, index) => !present[index])
    if (absent.length > 0 && this.#settings.offline) {
      throw notCached(this.subject, this.#settings, `no ${absent.join(' and no ')} of`)
    }
    const remote = await inParallel(absent, AT_ONCE, (path) => this.#describe(path))
    await this.#download(remote)
    for (const { path, hash } of remote) await this.#cached.link(this.commit, path, hash)
    await this.#cached.setCommit(this.#asked, this.commit)
  }

  async #download(remote: readonly RemoteFile[]): Promise<void> {
    const missing = new Map<string, RemoteFile>()
    const arrived = new Map<string, number>()
    for (const file of remote) {
      if (await this.#cached.hasBlob(file.hash, file.size)) continue
      missing.set(file.hash, file)
      arrived.set(file.hash, await this.#cached.partialSize(file.hash))
    }
    if (missing.size === 0) return
    const totalBytes = sum([...missing.values()].map(({ size }) => size))
    const { folder } = this.#cached
    await mkdir(folder, { recursive: true }).catch((error) => {
      throw writeError(error, folder)
    })
    await requireFreeSpace(folder, totalBytes - sum(arrived.values()), capital(this.name))
    const { repository } = this.subject
    const onBytes = ({ hash }: RemoteFile, bytes: number) => {
      arrived.set(hash, bytes)
      this.#options.onDownload?.({ repository, doneBytes: sum(arrived.values()), totalBytes, files: missing.size })
    }
    const context = {
      ...this.#options,
      settings: this.#settings,
      cached: this.#cached,
      subject: this.subject,
      onBytes,
    }
    await inParallel([...missing.values()], AT_ONCE, (file) => downloadFile(file, context))
  }

  /** Requests the size and the hash of a file, which the hub states before it redirects to the content. */
  async #describe(path: string): Promise<RemoteFile> {
    const { endpoint, kind, repository } = this.subject
    const { signal } = this.#options
    const subject = { ...this.subject, file: path }
    const place = [repository, 'resolve', this.commit, ...path.split('/').map(encodeURIComponent)].join('/')
    const url = `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${place}`
    const { headers } = await withRetries(
      () => request(this.#settings, url, subject, { method: 'HEAD', signal }),
      this.#options,
    )
    const hash = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '')
    const size = headers.get('x-linked-size') ?? headers.get('content-length') ?? ''
    if (isContentHash(hash) && /^\d{1,15}$/.test(size)) return { path, url, hash, size: Number(size) }
    throw new RunError(
      'hub-error',
      `The hub gives no hash or no size for ${nameOf(subject)}, so it cannot be verified.`,
    )
  }
}

function notCached(subject: Subject, { cache }: HubSettings, what: string): UsageError {
  const { repository, revision } = subject
  return new UsageError(
    'not-cached',
    `There is nothing at the path "${repository}", the cache ${cache} has ${what} ${nameOf(subject)} at revision ${revision}, and nothing is downloaded in offline mode (${theOption('offline')} or HF_HUB_OFFLINE).`,
  )
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0)
