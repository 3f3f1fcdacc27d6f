/** Uploads an adapter, a model or a GGUF file to the hub, with its model card. */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { stringify } from 'yaml'
import { aFunction, aSignal, check, optionsSchema } from '../common/arguments.js'
import { MoraError, RunError, UsageError } from '../common/errors.js'
import { reasonOf } from '../common/foreign-errors.js'
import { TheOption } from '../common/option-names.js'
import { packageVersion } from '../common/package-info.js'
import { hubSettings, nameOf, parseHubId, type SnapshotOptions, type Subject } from '../hub/index.js'
import { isJsonObject, jsonIn, readJsonObject } from '../io/json.js'
import { listSome } from '../io/model-folder.js'
import { readSafetensorsHeader } from '../io/safetensors.js'
import { type PushInput, PushSchema, parseOptions, requireOptions } from '../options/index.js'
import { type ModelUse, pipelineTag, useSection } from './model-use.js'
import { findPushed, type Pushed } from './pushed-files.js'
import { Target, type Upload } from './target.js'

/** Options of `pushToHub`: the options of `mora push` in camelCase, callbacks and a signal. */
export interface PushOptions extends PushInput {
  /** Called as files are hashed and uploaded. */
  onProgress?: (progress: PushProgress) => void
  /**
   * Called before anything is sent, to ask whether to upload these files and folders too, which are not part of an adapter, a
   * model or a run. Without it they are left out, with a notice.
   */
  confirm?: (others: readonly string[]) => boolean | Promise<boolean>
  /** Called with each notice for the user. */
  onWarning?: (message: string) => void
  /** Aborting it ends the work with the signal's reason; nothing is committed then. */
  signal?: AbortSignal
}

/** The commit that `pushToHub` made. */
export interface PushResult {
  /** `owner/name`. */
  readonly repository: string
  /** The branch of the commit. */
  readonly revision: string
  /** The commit, 40 hexadecimal digits. */
  readonly commit: string
  /** Web page of the upload. */
  readonly url: string
  /** Number of files of the commit. */
  readonly files: number
  /** Bytes of all files of the commit. */
  readonly bytes: number
}

/**
 * Uploads an adapter, a model, a run or a `.gguf` file in one commit. Large files that the hub has already are not sent again, so
 * a failed push can be repeated. Uploads the folder's model card, or writes a short one if neither side has one.
 *
 * ```ts
 * import { pushToHub } from 'node-mora'
 *
 * const { url } = await pushToHub({ path: 'out', repository: 'owner/name', private: true })
 * ```
 *
 * @throws UsageError before anything is sent: `no-token`, `missing-file`, `not-an-adapter`, `not-a-model`, `linked-file`,
 * `unfit-options`; `bad-token`, `forbidden`, `repository-not-found` if the hub refuses; RunError `push-conflict`, `hub-unreachable`,
 * `hub-error`, `rate-limited`, `upload-cut`; the reason of an aborted `signal`
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

/** `pushToHub` with the settings of the hub and the pauses between attempts, which tests replace. */
export async function pushWith(
  options: PushOptions,
  { settings, pause }: Pick<SnapshotOptions, 'settings' | 'pause'> = {},
): Promise<PushResult> {
  check({ options }, pushWithArguments)
  const { onProgress = () => {}, confirm, onWarning = () => {}, signal, ...given } = options
  const checked = parseOptions(PushSchema, given)
  requireOptions(PushSchema, checked)
  signal?.throwIfAborted()
  const { path, repository, include = [] } = checked as typeof checked & { path: string; repository: string }
  const { endpoint, token, offline, timeout } = settings ?? hubSettings()
  let pushed = await findPushed(path, checked)
  const { others } = pushed
  if (others.length > 0 && (await confirm?.(others))) {
    pushed = await findPushed(path, { ...checked, include: [...include, ...others] })
  } else if (others.length > 0) {
    onWarning(`Left out: ${listSome(others)}. ${TheOption('include')} can name further files to upload.`)
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
    const bytes = sum(uploads.map((upload) => upload.bytes))
    const progress = progressOf(repository, uploads, bytes)
    const message = checked.message ?? `Upload ${pushed.kind === 'gguf' ? 'GGUF' : pushed.kind} with node-mora`
    const commit = await target.commit(uploads, message, (...event) => onProgress(progress(...event)))
    const { revision } = subject
    const page = `${endpoint}/${repository}`
    const url = revision === 'main' ? page : `${page}/tree/${encodeURIComponent(revision)}`
    return { repository, revision, commit, url, files: uploads.length, bytes }
  } catch (error) {
    signal?.throwIfAborted()
    throw error instanceof MoraError || isOfSystem(error) ? error : unforeseen(error, subject)
  }
}

const isOfSystem = (error: unknown): boolean => typeof (error as NodeJS.ErrnoException).syscall === 'string'

/**
 * Rewords an error of the client library about an answer that it cannot read. The error is not kept as the cause, since it may
 * quote the hub.
 */
function unforeseen(error: unknown, subject: Subject): RunError {
  const reason = reasonOf(error, 'its answer is not one of a hub')
  return new RunError('hub-error', `The hub did not take ${nameOf(subject)}: ${reason}.`)
}

/** @param names the names of the repository's files */
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

/** Progress of an upload. */
export interface PushProgress {
  /** `owner/name`. */
  readonly repository: string
  /** The present phase: large files are hashed before they are uploaded. */
  readonly phase: 'hashing' | 'uploading'
  /** Bytes of this phase that are done, including bytes that the hub had already. */
  readonly doneBytes: number
  /** Bytes of all files. */
  readonly totalBytes: number
}

/** Returns a function that adds up the progress of all files, when `fraction` of `file` is done in a phase. */
function progressOf(repository: string, uploads: readonly Upload[], totalBytes: number) {
  const sizes = new Map(uploads.map(({ name, bytes }) => [name, bytes]))
  const done = { hashing: new Map<string, number>(), uploading: new Map<string, number>() }
  return (phase: PushProgress['phase'], file: string, fraction: number): PushProgress => {
    done[phase].set(file, Math.floor(fraction * sizes.get(file)!))
    return { repository, phase, doneBytes: sum(done[phase].values()), totalBytes }
  }
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0)

/** The file name of a repository's model card. */
const CARD = 'README.md'

/** The placeholder in a run's card for its location. */
const PLACE = /THIS_FOLDER(\/model)?/g

/** Reads a card, and replaces THIS_FOLDER of a run's card by the repository. */
async function cardFor(path: string, repository: string): Promise<string> {
  return (await readFile(path, 'utf8')).replace(PLACE, repository)
}

/** Writes a card for an upload without one, with its kind, its base model if known, and its use. */
async function newCard({ kind, files }: Pushed, repository: string): Promise<string> {
  const config = kind === 'adapter' ? files.find(({ name }) => name === 'adapter_config.json') : undefined
  const { base_model_name_or_path: base, use_mora: isMora } = config ? await readJsonObject(config.path) : {}
  const known = typeof base === 'string' && parseHubId(base) ? base : null
  const library = isMora === true ? 'node-mora' : 'peft'
  const purpose = await purposeOf(files, config?.path)
  const header = {
    ...(known !== null && { base_model: known }),
    ...(kind !== 'gguf' && { library_name: kind === 'adapter' ? library : 'transformers' }),
    pipeline_tag: pipelineTag(purpose),
    tags: ['node-mora', ...(kind === 'gguf' ? ['gguf'] : [])],
  }
  const gguf = files.find(({ name }) => /^[^/]+\.gguf$/i.test(name))?.name
  const model = kind === 'gguf' ? join(repository, gguf!) : repository
  const use = kind === 'adapter' ? `--model ${known ?? 'BASE_MODEL'} --adapter ${repository}` : `--model ${model}`
  return [
    `---\n${stringify(header)}---`,
    `# ${basename(repository)}`,
    `Pushed by node-mora ${packageVersion()}.`,
    useSection(purpose, use),
    '',
  ].join('\n\n')
}

/** Returns the purpose of an adapter or a model according to its files. */
async function purposeOf(files: Pushed['files'], adapterConfig: string | undefined): Promise<ModelUse> {
  const fileOf = (name: string) => files.find((file) => file.name === name)?.path
  if (fileOf('modules.json') !== undefined) return 'embed'
  const path = adapterConfig ?? fileOf('config.json')
  const { task_type: task, architectures, id2label } = path === undefined ? {} : await readJsonObject(path)
  const weights = fileOf('adapter_model.safetensors')
  // A card is no reason to refuse files that are uploaded as they are.
  const header = weights === undefined ? null : await readSafetensorsHeader(weights).catch(() => null)
  const { node_mora: own = '{}' } = header?.metadata ?? {}
  const facts = jsonIn(own)
  const { pooling, labels = Object.keys(isJsonObject(id2label) ? id2label : {}) } = isJsonObject(facts) ? facts : {}
  if (pooling || task === 'FEATURE_EXTRACTION') return 'embed'
  if (task !== 'SEQ_CLS' && !String(architectures).includes('ForSequenceClassification')) return 'generate'
  return Array.isArray(labels) && labels.length === 1 ? 'reward' : 'classify'
}
