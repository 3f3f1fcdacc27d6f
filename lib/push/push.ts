/** Uploads an adapter, a model or a GGUF file to the hub, with its model card. */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { aFunction, aSignal, check, optionsSchema } from '../common/arguments.js'
import { MoraError, RunError, UsageError } from '../common/errors.js'
import { reasonOf } from '../common/foreign-errors.js'
import { packageVersion } from '../common/package-facts.js'
import { type HubSettings, hubSettings, nameOf, type Pacing, parseHubId, type Subject } from '../hub/index.js'
import { readJsonObject } from '../io/json.js'
import { listSome } from '../io/model-folder.js'
import { PushCallSchema, type PushInput, parseOptions, requireOptions } from '../options/index.js'
import { findPushed, type Pushed } from './pushed-files.js'
import { Target, type Upload } from './target.js'

/** What `pushToHub` uploads and to where. */
export interface PushOptions extends PushInput {
  /** Called as files are hashed and uploaded. */
  onProgress?: (progress: PushProgress) => void
  /**
   * Asked before anything is sent whether these files and folders go too, which are no part of an adapter, a model or a run.
   * Without it they stay, with a notice.
   */
  confirm?: (others: readonly string[]) => boolean | Promise<boolean>
  /** Called with each notice for the user. */
  onWarning?: (message: string) => void
  /** Aborting it ends the work with the signal's reason; nothing is committed then. */
  signal?: AbortSignal
}

/** What was committed to the hub. */
export interface PushResult {
  /** `owner/name`. */
  readonly repository: string
  /** The branch. */
  readonly revision: string
  /** 40 hexadecimal digits. */
  readonly commit: string
  /** Page of what was uploaded. */
  readonly url: string
  /** Number of files of the commit. */
  readonly files: number
  /** Bytes of all files of the commit. */
  readonly bytes: number
}

/** What only tests change. */
export interface PushExtras extends Partial<Pick<Pacing, 'pause'>> {
  settings?: HubSettings
}

/**
 * Uploads an adapter, a model, a run or a `.gguf` file in one commit. Large files that the hub has already are not sent again, so
 * a push that failed may be repeated. A folder's model card goes with it; what has none, here or there, gets a short one.
 *
 * ```ts
 * import { pushToHub } from 'node-mora'
 *
 * const { url } = await pushToHub({ path: 'out', repository: 'owner/name', private: true })
 * ```
 *
 * @throws UsageError before anything is sent: `no-token`, `missing-file`, `not-an-adapter`, `not-a-model`, `linked-file`,
 * `unfit-options`; `bad-token`, `forbidden`, `repository-not-found` of what the hub refuses; RunError `push-conflict`, `hub-unreachable`,
 * `hub-error`, `rate-limited`, `upload-cut`; the reason of a `signal` that is aborted
 */
export function pushToHub(options: PushOptions): Promise<PushResult> {
  return pushWith(options)
}

const pushWithArguments = {
  options: optionsSchema('the options of pushToHub', {
    onProgress: aFunction.optional(),
    confirm: aFunction.optional(),
    onWarning: aFunction.optional(),
    signal: aSignal.optional(),
  }),
}

/** `pushToHub`, with what tests change. */
export async function pushWith(options: PushOptions, { settings, pause }: PushExtras = {}): Promise<PushResult> {
  check({ options }, pushWithArguments)
  const { onProgress = () => {}, confirm, onWarning = () => {}, signal, ...given } = options
  const checked = parseOptions(PushCallSchema, given, { source: 'api' })
  requireOptions(PushCallSchema, checked, 'api')
  signal?.throwIfAborted()
  const { path, repository, include = [] } = checked as typeof checked & { path: string; repository: string }
  const { endpoint, token, offline, timeout } = settings ?? hubSettings()
  let pushed = await findPushed(path, checked)
  const { others } = pushed
  if (others.length > 0 && (await confirm?.(others))) {
    pushed = await findPushed(path, { ...checked, include: [...include, ...others] })
  } else if (others.length > 0) {
    onWarning(`Left out: ${listSome(others)}. What else is to be uploaded can be named with the option include.`)
  }
  if (offline) throw new UsageError('unfit-options', 'Nothing is pushed in offline mode (HF_HUB_OFFLINE).')
  if (token === null) {
    throw new UsageError('no-token', 'Pushing to the hub needs a token with write access: HF_TOKEN or "hf auth login".')
  }
  if (!token.startsWith('hf_'))
    throw new UsageError('bad-token', 'A token of the hub begins with hf_, but this one does not.')
  const library = await import('@huggingface/hub')
  const subject = { kind: 'model', repository, revision: checked.revision ?? 'main', file: null, endpoint } as const
  const target = new Target(library, subject, token, { onWarning, signal, timeout, ...(pause && { pause }) })
  try {
    const names = await target.prepare(checked)
    const uploads = await withCard(pushed, names, repository)
    const progress = new UploadProgress(repository, uploads)
    const message = checked.message ?? `Upload ${pushed.kind === 'gguf' ? 'GGUF' : pushed.kind} with node-mora`
    const commit = await target.commit(uploads, message, (...event) => onProgress(progress.after(...event)))
    const { revision } = subject
    const page = `${endpoint}/${repository}`
    const url = revision === 'main' ? page : `${page}/tree/${encodeURIComponent(revision)}`
    return { repository, revision, commit, url, files: uploads.length, bytes: progress.totalBytes }
  } catch (error) {
    signal?.throwIfAborted()
    throw error instanceof MoraError || isOfSystem(error) ? error : unforeseen(error, subject)
  }
}

const isOfSystem = (error: unknown): boolean => typeof (error as NodeJS.ErrnoException).syscall === 'string'

/** An error of the library: the hub gave an answer that it cannot read. It is no cause: the hub's words may be in it. */
function unforeseen(error: unknown, subject: Subject): RunError {
  const reason = reasonOf(error, 'its answer is not one of a hub')
  return new RunError('hub-error', `The hub did not take ${nameOf(subject)}: ${reason}.`)
}

/** @param names what the repository has */
async function withCard(pushed: Pushed, names: readonly string[], repository: string): Promise<Upload[]> {
  const written = async (text: Promise<string>): Promise<Upload> => {
    const content = new Blob([await text])
    return { name: CARD, bytes: content.size, content }
  }
  const uploads = pushed.files.map(({ name, path, bytes }) =>
    name === CARD ? written(cardFor(path, repository)) : { name, bytes, content: pathToFileURL(path) },
  )
  const hasCard = [...names, ...pushed.files.map(({ name }) => name)].includes(CARD)
  return Promise.all(hasCard ? uploads : [...uploads, written(newCard(pushed, repository))])
}

/** How far an upload is. */
export interface PushProgress {
  /** `owner/name`. */
  readonly repository: string
  /** Large files are hashed before they are uploaded. */
  readonly phase: 'hashing' | 'uploading'
  /** Bytes of this phase that are done, with what the hub had already. */
  readonly doneBytes: number
  /** Bytes of all files. */
  readonly totalBytes: number
}

/** Adds up how far each file is. */
export class UploadProgress {
  readonly totalBytes: number
  readonly #bytes: ReadonlyMap<string, number>
  readonly #hashed = new Map<string, number>()
  readonly #uploaded = new Map<string, number>()
  readonly #repository: string

  constructor(repository: string, files: readonly { name: string; bytes: number }[]) {
    this.#repository = repository
    this.#bytes = new Map(files.map(({ name, bytes }) => [name, bytes]))
    this.totalBytes = sum(this.#bytes.values())
  }

  /** @param fraction of the file, in this phase */
  after(phase: PushProgress['phase'], file: string, fraction: number): PushProgress {
    const done = phase === 'hashing' ? this.#hashed : this.#uploaded
    done.set(file, Math.floor(fraction * (this.#bytes.get(file) ?? 0)))
    return { repository: this.#repository, phase, doneBytes: sum(done.values()), totalBytes: this.totalBytes }
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}

/** The model card (README.md) that a repository gets. */

export const CARD = 'README.md'

/** What the card of a run calls the place where it lies. */
const PLACE = /THIS_FOLDER(\/model)?/g

/** A card as it is, with the repository named where the card of a run says THIS_FOLDER. */
export async function cardFor(path: string, repository: string): Promise<string> {
  return (await readFile(path, 'utf8')).replace(PLACE, repository)
}

/** A card for what has none: what it is, what it is made of where that is known, and how to use it. */
export async function newCard({ kind, files }: Pushed, repository: string): Promise<string> {
  const config = kind === 'adapter' ? files.find(({ name }) => name === 'adapter_config.json') : undefined
  const { base_model_name_or_path: base, use_mora: isMora } = config ? await readJsonObject(config.path) : {}
  const known = typeof base === 'string' && parseHubId(base) ? base : null
  const library = isMora === true ? 'node-mora' : 'peft'
  const header = {
    ...(known !== null && { base_model: known }),
    ...(kind !== 'gguf' && { library_name: kind === 'adapter' ? library : 'transformers' }),
    pipeline_tag: 'text-generation',
    tags: ['node-mora', ...(kind === 'gguf' ? ['gguf'] : [])],
  }
  const gguf = files.find(({ name }) => /^[^/]+\.gguf$/i.test(name))?.name
  const model = kind === 'gguf' ? join(repository, gguf!) : repository
  const use = kind === 'adapter' ? `--model ${known ?? 'BASE_MODEL'} --adapter ${repository}` : `--model ${model}`
  return [
    `---\n${stringify(header)}---`,
    `# ${basename(repository)}`,
    `Pushed by node-mora ${packageVersion()}.`,
    `## Use\n\n\`\`\`sh\nmora generate ${use} --prompt "…"\n\`\`\``,
    '',
  ].join('\n\n')
}
