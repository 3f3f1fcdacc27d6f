/** Batches: files of requests, which the server answers beside those of clients. One batch is answered at a time. */
import { rm, stat } from 'node:fs/promises'
import { quoted, RunError, UsageError } from '../common/errors.js'
import { appendLine } from '../io/atomic.js'
import { requireFreeSpace } from '../io/disk-space.js'
import { patientAnswer } from './ask.js'
import { type BatchRequest, checkRequests, requestsIn, writtenIds } from './batch-lines.js'
import type { JobsHost } from './host.js'
import { endOfWindow, isOver, newestFirst, type RequestBatch, type StoredFile } from './records.js'
import { type JobStore, linkOrCopy, newId } from './store.js'

/** What a client asks for. */
export interface BatchAsked extends Pick<RequestBatch, 'endpoint' | 'metadata' | 'expiry' | 'window'> {
  /** Id of the file. */
  readonly input: string
}

const MOST_WAITING = 1000
const NO_REQUESTS: RequestBatch['counts'] = { total: 0, completed: 0, failed: 0 }

interface RunningBatch {
  readonly ending: AbortController
  /** Whether it only ends, as its time was over before its turn. */
  readonly isLate: boolean
  counts: RequestBatch['counts']
  done: Promise<void>
}

export class Batches {
  readonly #running = new Map<string, RunningBatch>()
  #isClosing = false

  constructor(
    readonly store: JobStore,
    readonly host: JobsHost,
    /** Returns a client's file of requests. @throws UsageError `bad-value` that names the parameter */
    readonly fileOf: (id: string, param: string, owner: string | null) => StoredFile,
  ) {}

  /** Begins the next batch, if none runs, and ends those that wait longer than they may. */
  begin(): void {
    if (this.#isClosing) return
    const waiting = [...this.store.batches.values()].filter((one) => !isOver(one) && !this.#running.has(one.id))
    for (const batch of waiting.filter(isLate)) this.#start(batch, true)
    const next = newestFirst(waiting).findLast((one) => !isLate(one))
    if (next && [...this.#running.values()].every((one) => one.isLate)) this.#start(next, false)
  }

  #start(batch: RequestBatch, isLate: boolean): void {
    const { counts } = batch
    const running: RunningBatch = { isLate, ending: new AbortController(), counts, done: Promise.resolve() }
    this.#running.set(batch.id, running)
    const timer = isLate ? undefined : setTimeout(() => running.ending.abort(), endOfWindow(batch) - Date.now())
    running.done = this.#run(batch, running)
      .catch((error: unknown) => this.#fail(batch, running, error))
      .catch(this.host.onError)
      .finally(() => {
        clearTimeout(timer)
        this.#running.delete(batch.id)
        this.begin()
      })
  }

  /** Returns a client's batches, the newest first. */
  list(owner: string | null): RequestBatch[] {
    this.begin()
    const own = [...this.store.batches.values()].filter((batch) => batch.owner === owner)
    return newestFirst(own).map((batch) => this.#counted(batch))
  }

  /** @throws UsageError `unknown-batch` */
  get(id: string, owner: string | null): RequestBatch {
    this.begin()
    const batch = this.store.batches.get(id)
    if (batch && batch.owner === owner) return this.#counted(batch)
    throw new UsageError('unknown-batch', `There is no batch ${quoted(id)}.`)
  }

  /**
   * Adds a batch to the queue.
   * @throws UsageError for a file that is no batch
   */
  async create({ input, endpoint, metadata, expiry, window }: BatchAsked, owner: string | null): Promise<RequestBatch> {
    const { host, store } = this
    if (this.#isClosing) throw new RunError('closed', 'The server is ending: it takes no more batches.')
    if (!host.endpoints.includes(endpoint)) {
      const problem = `Expected one of ${host.endpoints.join(', ')} for endpoint but received ${quoted(endpoint)}.`
      throw new UsageError('bad-value', problem, { option: 'endpoint' })
    }
    const file = this.fileOf(input, 'input_file_id', owner)
    if (this.list(owner).filter((one) => !isOver(one)).length >= MOST_WAITING) {
      throw new UsageError('too-many-jobs', `${MOST_WAITING} batches are waiting: wait for some, or cancel them.`)
    }
    await requireFreeSpace(store.folder, 2 * file.bytes, 'What the batch writes')
    const createdAt = Date.now()
    const batch: RequestBatch = {
      id: newId('batch_'),
      owner,
      createdAt,
      endpoint,
      input,
      filename: file.filename,
      state: 'validating',
      times: { validating: createdAt },
      counts: NO_REQUESTS,
      problems: [],
      output: null,
      errors: null,
      metadata,
      expiry,
      window,
    }
    await store.addBatch(batch, file)
    this.begin()
    return batch
  }

  /**
   * Ends a batch. Answers that are written remain.
   * @throws UsageError `unknown-batch`, `job-ended`
   */
  async cancel(id: string, owner: string | null): Promise<RequestBatch> {
    const batch = this.get(id, owner)
    if (isOver(batch)) throw new UsageError('job-ended', `The batch ${id} has ended already: it has ${batch.state}.`)
    const running = this.#running.get(id)
    // One that waits has no answers.
    if (!running && batch.state === 'validating') return this.#enter(batch, 'cancelled')
    const cancelling = await this.#enter(batch, 'cancelling')
    running?.ending.abort()
    return this.#counted(cancelling)
  }

  /** Stops the running batch: the next process that opens the folder continues it. */
  async close(): Promise<void> {
    this.#isClosing = true
    const all = [...this.#running.values()]
    for (const { ending } of all) ending.abort()
    await Promise.all(all.map(({ done }) => done))
  }

  #counted(batch: RequestBatch): RequestBatch {
    const running = this.#running.get(batch.id)
    return running && !isOver(batch) ? { ...batch, counts: running.counts } : batch
  }

  #enter(
    batch: RequestBatch,
    state: RequestBatch['state'],
    changes: Partial<RequestBatch> = {},
  ): Promise<RequestBatch> {
    const { times } = this.store.batches.get(batch.id)!
    return this.store.setBatch(batch, { state, times: { ...times, [state]: Date.now() }, ...changes })
  }

  #stateOf({ id }: RequestBatch): RequestBatch['state'] {
    return this.store.batches.get(id)!.state
  }

  async #run(batch: RequestBatch, running: RunningBatch): Promise<void> {
    const { signal } = running.ending
    const { input, output, errors } = this.store.pathsOfBatch(batch)
    if (this.#stateOf(batch) === 'validating' && !running.isLate) {
      const { total, problems } = await checkRequests(input, batch, signal)
      running.counts = { ...running.counts, total }
      if (this.#stateOf(batch) !== 'validating') return this.#finish(batch, running)
      if (problems.length > 0) {
        await this.#enter(batch, 'failed', { problems, counts: NO_REQUESTS })
        return this.#clear(batch)
      }
      await this.#enter(batch, 'in_progress', { counts: running.counts })
    }
    const [completed, failed] = [await writtenIds(output), await writtenIds(errors)]
    running.counts = { ...running.counts, completed: completed.length, failed: failed.length }
    if (this.#stateOf(batch) === 'in_progress' && !running.isLate)
      await this.#answerAll(batch, running, new Set([...completed, ...failed]))
    await this.#finish(batch, running)
  }

  /** Answers the requests that are not answered yet, some at once. */
  async #answerAll(batch: RequestBatch, running: RunningBatch, known: ReadonlySet<string>): Promise<void> {
    const { input } = this.store.pathsOfBatch(batch)
    const { signal } = running.ending
    const active = new Set<Promise<void>>()
    const failures: unknown[] = []
    for await (const request of requestsIn(input, batch.filename)) {
      if (known.has(request.custom_id)) continue
      while (active.size >= this.host.batchRequests) await Promise.race(active)
      if (failures.length > 0 || signal.aborted) break
      const answering: Promise<void> = this.#answer(batch, request, running)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => active.delete(answering))
      active.add(answering)
    }
    await Promise.all(active)
    if (failures.length > 0 && !signal.aborted) throw failures[0]
  }

  async #answer(batch: RequestBatch, { custom_id, body }: BatchRequest, running: RunningBatch): Promise<void> {
    const { signal } = running.ending
    const { output, errors } = this.store.pathsOfBatch(batch)
    const asked = { client: batch.owner, signal }
    const answer = body.stream ? STREAMED : await patientAnswer(this.host, batch.endpoint, body, asked)
    const isFine = answer.status === 200
    const response = { status_code: answer.status, request_id: newId('req_'), body: answer.body }
    const line = { id: newId('batch_req_'), custom_id, response, error: null }
    await appendLine(isFine ? output : errors, JSON.stringify(line))
    const { counts } = running
    running.counts = isFine ? { ...counts, completed: counts.completed + 1 } : { ...counts, failed: counts.failed + 1 }
  }

  /** Makes files of what is written, unless the server is ending. */
  async #finish(batch: RequestBatch, running: RunningBatch): Promise<void> {
    const isCancelled = this.#stateOf(batch) === 'cancelling'
    const hasEnded = isLate(batch)
    if (running.ending.signal.aborted && !isCancelled && (this.#isClosing || !hasEnded)) return
    const unanswered = hasEnded && !isCancelled ? await this.#expire(batch, running) : 0
    const { counts } = running
    if (!isCancelled) await this.#enter(batch, 'finalizing', { counts })
    await this.#enter(batch, isCancelled ? 'cancelled' : unanswered > 0 ? 'expired' : 'completed', {
      ...(await this.#filesOf({ ...batch, counts })),
      counts,
    })
    await this.#clear(batch)
  }

  /** Writes the error of each request that is not answered, and returns their number. */
  async #expire(batch: RequestBatch, running: RunningBatch): Promise<number> {
    const { input, output, errors } = this.store.pathsOfBatch(batch)
    const [completed, failed] = [await writtenIds(output), await writtenIds(errors)]
    const known = new Set([...completed, ...failed])
    const lines: string[] = []
    for await (const { custom_id } of requestsIn(input, batch.filename)) {
      if (!known.has(custom_id)) lines.push(JSON.stringify({ id: newId('batch_req_'), custom_id, ...EXPIRED }))
    }
    if (lines.length > 0) await appendLine(errors, lines.join('\n'))
    const counts = { completed: completed.length, failed: failed.length + lines.length }
    running.counts = { ...counts, total: counts.completed + counts.failed }
    return lines.length
  }

  async #filesOf(batch: RequestBatch): Promise<Pick<RequestBatch, 'output' | 'errors'>> {
    const { output, errors } = this.store.pathsOfBatch(batch)
    return {
      output: await this.#fileFrom(output, batch, 'output'),
      errors: await this.#fileFrom(errors, batch, 'error'),
    }
  }

  /** Returns the id of a file with the lines at a path; null if there are none. */
  async #fileFrom(path: string, batch: RequestBatch, kind: 'output' | 'error'): Promise<string | null> {
    const facts = await stat(path).catch(() => null)
    if (!facts?.size) return null
    // The same id whenever it is made: a process may end before the batch's record is written.
    const id = `${batch.id.replace('batch_', 'file-')}${kind === 'output' ? 'o' : 'e'}`
    const { owner, expiry, counts } = batch
    await this.store.addFile(id, async (to) => {
      await linkOrCopy(path, to)
      const expiresAt = expiry === null ? null : Date.now() + 1000 * expiry
      const rows = kind === 'output' ? counts.completed : counts.failed
      return {
        owner,
        filename: `${batch.id}_${kind}.jsonl`,
        bytes: facts.size,
        purpose: 'batch_output',
        expiresAt,
        kind: null,
        rows,
      }
    })
    return id
  }

  async #fail(batch: RequestBatch, running: RunningBatch, error: unknown): Promise<void> {
    const { signal } = running.ending
    const isCancelled = signal.aborted && this.#stateOf(batch) === 'cancelling'
    if (isCancelled || (signal.aborted && error === signal.reason)) return this.#finish(batch, running)
    if (signal.aborted && this.#isClosing) return
    this.host.onError(error)
    const message = 'The server failed; its log says why.'
    const problems = [{ code: 'internal_error', message, line: null }]
    const { counts } = running
    await this.#enter(batch, 'failed', { problems, ...(await this.#filesOf({ ...batch, counts })), counts })
    await this.#clear(batch)
  }

  async #clear(batch: RequestBatch): Promise<void> {
    const { input, output, errors } = this.store.pathsOfBatch(batch)
    for (const path of [input, output, errors]) await rm(path, { force: true })
  }
}

const isLate = (batch: RequestBatch): boolean => endOfWindow(batch) <= Date.now()

const EXPIRED = {
  response: null,
  error: {
    code: 'batch_expired',
    message: 'This request could not be executed before the completion window expired.',
  },
}

const STREAMED = {
  status: 400,
  body: {
    error: {
      message: 'Expected false for stream, since batches have no streams, but received true.',
      type: 'invalid_request_error',
      param: 'stream',
      code: 'invalid_value',
    },
  },
}
