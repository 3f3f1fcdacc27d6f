import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InputError, MoraError, quoted, RunError, UsageError } from '../common/errors.js'
import { withFigures } from '../fit/concern.js'
import { openConstraint } from '../generate/index.js'
import { removeFolder } from '../io/atomic.js'
import { requireFreeSpace } from '../io/disk-space.js'
import { Batches } from './batches.js'
import { type ContinuedModel, continuedModel, requireNoAdapterOptions } from './continued.js'
import type { JobsHost } from './host.js'
import { JOB_METHODS, resolvedHyperparameters, runOptions } from './methods.js'
import { isFinal, type Job, newestFirst, type StoredFile } from './records.js'
import { checkpointsOfRun, resultTable, stepsOfRun } from './results.js'
import { requireMemoryOf } from './room.js'
import { contextOf, RunningJob } from './running-job.js'
import { ADAPTER_FILES, JobStore, newId } from './store.js'
import { loadWandb } from './wandb.js'

/** What a client asks for. */
export interface JobRequest extends Pick<Job['options'], 'suffix' | 'metadata' | 'integrations' | 'mora' | 'method'> {
  readonly model: string
  /** Ids of files. */
  readonly training: string
  readonly validation: string | null
  readonly objective: string
  /** Hyperparameters that are not left to be chosen. */
  readonly hyperparameters: Readonly<Record<string, number>>
  readonly seed: number | null
}

const MOST_WAITING = 1000
export class Jobs {
  /** Resolves once the models of former processes are served. */
  readonly ready: Promise<void>
  readonly batches: Batches
  #running: RunningJob | null = null
  /** Ids of jobs by the names of their models. */
  readonly #ofModels: Map<string, string>
  #isClosing = false

  /** @throws what `JobStore` throws */
  static open(folder: string, host: JobsHost): Jobs {
    return new Jobs(new JobStore(folder, host.onError), host)
  }

  private constructor(
    readonly store: JobStore,
    readonly host: JobsHost,
  ) {
    this.#ofModels = new Map([...store.jobs.values()].map((job) => [this.modelName(job), job.id]))
    this.batches = new Batches(store, host, (id, param, owner) =>
      this.#uploaded(id, { param, purpose: 'batch', owner }),
    )
    this.ready = this.#begin().catch(host.onError)
  }

  /** Returns a client's jobs, the newest first. */
  list(owner: string | null): Job[] {
    return newestFirst([...this.store.jobs.values()].filter((job) => job.owner === owner))
  }

  /** @throws UsageError `unknown-job` */
  get(id: string, owner: string | null): Job {
    const job = this.store.jobs.get(id)
    if (job && job.owner === owner) return job
    throw new UsageError('unknown-job', `There is no job ${quoted(id)}.`)
  }

  /** Returns a client's files, the newest first. Files that have expired are removed. */
  files(owner: string | null): StoredFile[] {
    const all = [...this.store.files.values()]
    const hasExpired = ({ expiresAt }: StoredFile) => expiresAt !== null && expiresAt <= Date.now()
    for (const file of all.filter(hasExpired)) this.store.removeFile(file).catch(this.host.onError)
    return newestFirst(all.filter((file) => file.owner === owner && !hasExpired(file)))
  }

  /** @throws UsageError `unknown-file` */
  file(id: string, owner: string | null): StoredFile {
    const file = this.files(owner).find((one) => one.id === id)
    if (file) return file
    throw new UsageError('unknown-file', `There is no file ${quoted(id)}.`)
  }

  /**
   * Adds a job to the queue.
   * @throws UsageError for what cannot be trained
   */
  async create(request: JobRequest, owner: string | null): Promise<Job> {
    const { host, store } = this
    if (this.#isClosing) throw new RunError('closed', 'The server is ending: it takes no more jobs.')
    const { objective, suffix, metadata, integrations, mora, method: fields } = request
    const continued = await this.#continued(request, owner)
    const method = JOB_METHODS[objective]!
    const training = this.#fileFor(request.training, 'training_file', objective, owner)
    const validation =
      request.validation === null ? null : this.#fileFor(request.validation, 'validation_file', objective, owner)
    if (this.list(owner).filter(({ state }) => state === 'queued').length >= MOST_WAITING) {
      throw new UsageError('too-many-jobs', `${MOST_WAITING} jobs are waiting: wait for some, or cancel them.`)
    }
    requireUsed(request)
    const files = [
      { param: 'training_file', file: training },
      ...(validation ? [{ param: 'validation_file', file: validation }] : []),
    ]
    await method.check?.({
      ...{ fields, mora, continues: continued?.name ?? null },
      files: files.map(({ param, file }) => ({ param, path: store.contentOf(file), name: file.filename })),
      requireModel: (name) => host.requireModel(name, owner),
      requireSchema: (schema) => requireSchema(schema, host.model),
      programs: Object.keys(host.graders),
    })
    const job: Job = {
      id: newId('ftjob-'),
      owner,
      createdAt: Date.now(),
      model: host.baseName,
      continues: continued?.name ?? null,
      data: { training: training.id, validation: validation?.id ?? null, rows: training.rows },
      objective,
      options: {
        hyperparameters: resolvedHyperparameters(method, training.rows, request.hyperparameters),
        mora: { ...continued?.options, ...mora },
        method: fields,
        seed: request.seed ?? Math.floor(Math.random() * 2 ** 31),
        suffix,
        metadata,
        integrations,
      },
      state: 'queued',
      startedAt: null,
      steps: null,
      finishedAt: null,
      error: null,
      tunedModel: null,
      trainedTokens: null,
      resultFile: null,
      isDeleted: false,
    }
    if (integrations) await loadWandb()
    await this.#requireRoom(job)
    await store.addJob(job, { training, validation, continued: continued?.folder ?? null })
    this.#ofModels.set(this.modelName(job), job.id)
    await store.tell(job, 'info', `Created fine-tuning job: ${job.id}`)
    this.#startNext()
    return job
  }

  /** Returns the tuned model that a job is to train further; null if it is the base. */
  async #continued({ model, mora, objective }: JobRequest, owner: string | null): Promise<ContinuedModel | null> {
    const { baseName } = this.host
    if (model === baseName) return null
    const job = this.jobOfModel(model)
    if (!job || job.owner !== owner || job.model !== baseName) {
      const problem = `Jobs here train ${quoted(baseName)} and models that were tuned here, not ${quoted(model)}.`
      throw new UsageError('unknown-adapter', problem)
    }
    const continued = await continuedModel(model, job, this.store)
    requireNoAdapterOptions(continued, mora, objective)
    return continued
  }

  /**
   * Ends a job. Its checkpoints remain.
   * @throws UsageError `unknown-job`, `job-ended`
   */
  async cancel(id: string, owner: string | null): Promise<Job> {
    const job = this.#unended(id, owner)
    return this.#halt(job, { state: 'cancelled', finishedAt: Date.now() }, 'The job was cancelled.')
  }

  /**
   * Stops a job after its last complete step, with a checkpoint.
   * @throws UsageError `unknown-job`, `job-ended`
   */
  async pause(id: string, owner: string | null): Promise<Job> {
    const job = this.#unended(id, owner)
    return job.state === 'paused' ? job : this.#halt(job, { state: 'paused' }, 'The job was paused.')
  }

  /**
   * Puts a paused job into the queue; it continues as if it had not been paused.
   * @throws UsageError `unknown-job`, `job-ended`
   */
  async resume(id: string, owner: string | null): Promise<Job> {
    const job = this.#unended(id, owner)
    if (job.state !== 'paused') return job
    const queued = await this.store.setJob(job, { state: 'queued' })
    await this.store.tell(job, 'info', 'The job was resumed.')
    this.#startNext()
    return queued
  }

  /** The name by which a job's model is served. */
  modelName({ id, model, owner, options }: Job): string {
    return `ft:${model}:${owner ?? 'local'}:${options.suffix ?? ''}:${id.slice(-8)}`
  }

  checkpointName(job: Job, step: number): string {
    return `${this.modelName(job)}:ckpt-step-${step}`
  }

  /** Returns the job whose model, or checkpoint, has a name; undefined if there is none. */
  jobOfModel(name: string): Job | undefined {
    const id = this.#ofModels.get(name.replace(/:ckpt-step-\d+$/, ''))
    return id === undefined ? undefined : this.store.jobs.get(id)
  }

  /** Whether a client may use a model: those of jobs are their clients' own. */
  mayUse(name: string, client: string | null): boolean {
    const job = this.jobOfModel(name)
    return job === undefined || job.owner === client
  }

  /**
   * Deletes a job's model, which is then not served any more, with its checkpoints; or one checkpoint. The job's record stays.
   * @throws UsageError `job-runs` before the job has ended
   */
  async deleteModel(job: Job, name: string): Promise<void> {
    if (!isFinal(job)) throw new UsageError('job-runs', `The job ${job.id} has not ended: cancel it first.`)
    const { run } = this.store.pathsOf(job)
    const isWhole = name === this.modelName(job)
    for (const { step, path } of await checkpointsOfRun(run)) {
      const own = this.checkpointName(job, step)
      if (!isWhole && own !== name) continue
      await this.host.drop(own)
      await removeFolder(path)
    }
    if (!isWhole) return
    await this.store.setJob(job, { isDeleted: true })
    await this.host.drop(name)
    for (const file of ADAPTER_FILES) await rm(join(run, file), { force: true })
  }

  /** Returns the time at which a running job will have ended if it goes on as before [ms since 1970]; null if that is not known. */
  estimatedEnd({ id, state }: Job): number | null {
    const progress = state === 'running' && this.#running?.id === id ? this.#running.progress : null
    const taken = progress && progress.step - progress.first
    if (!progress || !taken) return null
    const now = Date.now()
    return Math.round(now + ((now - progress.since) / taken) * (progress.total - progress.step))
  }

  /** Stops the running job with its state saved: the next process that opens the folder continues it. */
  async close(): Promise<void> {
    this.#isClosing = true
    await this.ready
    await Promise.all([this.#stop(this.#running?.id), this.batches.close()])
    await this.store.close()
  }

  /**
   * @throws UsageError for options that do not go together, or do not fit the memory; RunError `disk-full`. While another job runs, the
   * memory that it will free is not known; the job looks again when it begins.
   */
  async #requireRoom(job: Job): Promise<void> {
    const { model } = this.host
    const { settings } = runOptions(job, model, contextOf(job, this))
    let bytes: number
    try {
      bytes = requireMemoryOf(settings, model, this.#running !== null)
    } catch (refusal) {
      const error = await withFigures(refusal, model, settings)
      if (!(error instanceof UsageError) || error.code !== 'too-little-memory') throw error
      // The code is also that of a moment's lack, after which clients ask again.
      throw new UsageError('unfit-options', error.message, { cause: error })
    }
    await requireFreeSpace(this.store.folder, bytes, 'What the job writes')
  }

  #fileFor(id: string, param: string, objective: string, owner: string | null): StoredFile {
    const { kinds, rows } = JOB_METHODS[objective]!
    const file = this.#uploaded(id, { param, purpose: 'fine-tune', owner })
    if (file.kind !== null && kinds.includes(file.kind)) return file
    const problem = `The method ${objective} needs rows with ${rows}, but those of ${file.filename} are ${file.kind}.`
    throw new UsageError('bad-value', problem, { option: param })
  }

  /** Returns a client's file for a purpose. @throws UsageError `bad-value` that names the parameter */
  #uploaded(
    id: string,
    { param, purpose, owner }: { param: string; purpose: StoredFile['purpose']; owner: string | null },
  ): StoredFile {
    const wrong = (problem: string) => new UsageError('bad-value', problem, { option: param })
    let file: StoredFile
    try {
      file = this.file(id, owner)
    } catch (error) {
      throw error instanceof UsageError ? wrong(error.message) : error
    }
    if (file.purpose === purpose) return file
    throw wrong(`The file ${id} was uploaded for ${file.purpose}, not for ${purpose}.`)
  }

  /** Serves what former processes have trained, and continues what they left. */
  async #begin(): Promise<void> {
    for (const job of this.store.jobs.values()) {
      if (job.state === 'running') await this.store.setJob(job, { state: 'queued' })
      if (job.model !== this.host.baseName && !isFinal(job)) {
        await this.store.tell(job, 'warn', `The job waits for a server of ${job.model}.`)
      }
      if (job.isDeleted) continue
      const { run } = this.store.pathsOf(job)
      if (job.tunedModel !== null) this.host.serve(job.tunedModel, run)
      for (const { step, path } of await checkpointsOfRun(run)) this.host.serve(this.checkpointName(job, step), path)
    }
    this.batches.begin()
    this.#startNext()
  }

  #startNext(): void {
    if (this.#running || this.#isClosing) return
    const isNext = ({ state, model }: Job) => state === 'queued' && model === this.host.baseName
    const job = newestFirst([...this.store.jobs.values()].filter(isNext)).at(-1)
    if (!job) return
    const running = new RunningJob(job, { store: this.store, host: this.host }, (step) =>
      this.checkpointName(job, step),
    )
    this.#running = running
    running.done = this.#run(job, running)
      .catch(this.host.onError)
      .finally(() => {
        this.#running = null
        this.#startNext()
      })
  }

  /** @throws UsageError `unknown-job`, `job-ended` */
  #unended(id: string, owner: string | null): Job {
    const job = this.get(id, owner)
    if (!isFinal(job)) return job
    throw new UsageError('job-ended', `The job ${id} has ended already: it has ${job.state}.`)
  }

  /** Changes a job's record, ends its run, and says so. */
  async #halt(job: Job, changes: Partial<Job>, message: string): Promise<Job> {
    const halted = await this.store.setJob(job, changes)
    await this.#stop(job.id)
    await this.store.tell(job, 'info', message)
    return halted
  }

  /** Ends the run of a job, if it runs, after its last complete step. */
  async #stop(id: string | undefined): Promise<void> {
    const running = this.#running
    if (!running || running.id !== id) return
    running.ending.abort()
    await running.done
  }

  async #run(job: Job, running: RunningJob): Promise<void> {
    const { store } = this
    const { signal } = running.ending
    await store.setJob(job, { state: 'running', startedAt: job.startedAt ?? Date.now() })
    try {
      const { stopped } = await running.train()
      // Whoever disposes of the model ends its run, and the next would have no model.
      if (stopped) this.#isClosing = true
      if (stopped || signal.aborted) return
      await this.#succeed(job)
    } catch (error) {
      if (signal.aborted) return
      const failure = this.#reasonOf(error)
      if (failure.code === 'internal_error') this.host.onError(error)
      // At once, so that a client that sees the end sees the message, too.
      await Promise.all([
        store.setJob(job, { state: 'failed', error: failure, finishedAt: Date.now() }),
        store.tell(job, 'error', failure.message),
      ])
    }
  }

  async #succeed(job: Job): Promise<void> {
    const { store } = this
    const { run } = store.pathsOf(job)
    const { steps, tokens } = await stepsOfRun(run, store.lines)
    const table = resultTable(steps)
    // The same id whenever it is written: a process may end before the job's record is.
    const file = await store.addFile(job.id.replace('ftjob-', 'file-'), async (path) => {
      await writeFile(path, table)
      const filename = 'step_metrics.csv'
      const facts = { owner: job.owner, filename, bytes: Buffer.byteLength(table), expiresAt: null }
      return { ...facts, purpose: 'fine-tune-results', kind: null, rows: steps.length }
    })
    const name = this.modelName(job)
    // A client may have paused or cancelled it meanwhile.
    if (store.jobs.get(job.id)!.state !== 'running') return store.removeFile(file)
    this.host.serve(name, run)
    const finishedAt = Date.now()
    const result = { tunedModel: name, trainedTokens: tokens, resultFile: file.id, steps: steps.length }
    await Promise.all([
      store.setJob(job, { state: 'succeeded', finishedAt, ...result }),
      store.tell(job, 'info', `New fine-tuned model created: ${name}`),
      store.tell(job, 'info', 'The job has successfully completed'),
    ])
  }

  /** Describes an error to clients, who see no paths of the machine, and nothing of internal failures. */
  #reasonOf(error: unknown): NonNullable<Job['error']> {
    if (!(error instanceof MoraError)) {
      return { code: 'internal_error', message: 'The server failed; its log says why.', param: null }
    }
    const isOfRows = error instanceof InputError
    const param = isOfRows ? (error.message.startsWith('validation.jsonl') ? 'validation_file' : 'training_file') : null
    return { code: error.code, message: this.store.withoutPaths(error.message), param }
  }
}

/** @throws UsageError `unsupported-constraint` for a JSON schema that cannot be enforced */
async function requireSchema(schema: unknown, { tokenizer, config }: JobsHost['model']): Promise<void> {
  const { vocabularySize, eosIds } = config
  const constraint = await openConstraint({ schema }, { tokenizer: tokenizer!, vocabularySize, eosIds })
  constraint.dispose()
}

/** @throws UsageError `bad-value` for a hyperparameter of the validation of a job that has none */
function requireUsed({ objective, hyperparameters, validation }: JobRequest): void {
  const own = Object.entries(JOB_METHODS[objective]!.hyperparameters)
  const unused = own.find(([name, { isOfValidation }]) => isOfValidation && hyperparameters[name] !== undefined)
  if (!unused || validation !== null) return
  const option = `method.${objective}.hyperparameters.${unused[0]}`
  throw new UsageError('bad-value', `${option} says how a validation_file is used: give one, or leave it out.`, {
    option,
  })
}
