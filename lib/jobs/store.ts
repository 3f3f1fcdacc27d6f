/**
 * The folder of files and jobs. A file is a folder with its content and its record, a job one with its rows, its record, its events and
 * its run. Records are written atomically, so a killed process leaves each as it was or as it became.
 */

import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import { InputError } from '../common/errors.js'
import { taskLimit } from '../common/task-limit.js'
import { appendLine, makeFolders, removeFolder, replaceFolder, writeFileAtomic } from '../io/atomic.js'
import { parseJson } from '../io/json.js'
import { removeLeftovers } from '../io/leftovers.js'
import { readTextSync } from '../io/open.js'
import { readAs } from '../io/read-as.js'
import { lockFolder } from '../train/output/lock.js'
import { GrownLines } from './grown-lines.js'
import { BatchSchema, FileSchema, type Job, JobSchema, type RequestBatch, type StoredFile } from './records.js'

const RECORD = 'record.json'
const CONTENT = 'content'
const MESSAGES = 'messages.jsonl'
const CONTINUED = 'continued'
/** Files of an adapter. */
export const ADAPTER_FILES = ['adapter_model.safetensors', 'adapter_config.json'] as const
/** Folders of records. */
const KINDS = ['files', 'jobs', 'batches'] as const
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** Something that a job told in words. */
export interface JobMessage {
  readonly id: string
  /** Milliseconds since 1970. */
  readonly at: number
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
}

export class JobStore {
  /** Without links. */
  readonly folder: string
  readonly files = new Map<string, StoredFile>()
  readonly jobs = new Map<string, Job>()
  readonly batches = new Map<string, RequestBatch>()
  readonly #lock: ReturnType<typeof lockFolder>
  readonly #opened: Promise<unknown>
  readonly #writes = taskLimit(1)
  readonly #messages = taskLimit(1)
  /** Messages, and numbers of runs. */
  readonly lines = new GrownLines()

  /**
   * Opens the folder, which is made if absent, and reads its records.
   * @param onError is told of records that cannot be read; their folders are left alone
   * @throws UsageError `locked` if another process has it, `unwritable-output`
   */
  constructor(given: string, onError: (error: unknown) => void) {
    this.#lock = lockFolder(given)
    const folder = realpathSync(given)
    this.folder = folder
    for (const name of KINDS) makeFolders(join(folder, name))
    read(join(folder, 'files'), FileSchema, this.files, onError)
    read(join(folder, 'jobs'), JobSchema, this.jobs, onError)
    read(join(folder, 'batches'), BatchSchema, this.batches, onError)
    this.#opened = Promise.all(KINDS.map((name) => removeLeftovers(join(folder, name)))).catch(onError)
  }

  async close(): Promise<void> {
    await this.#opened
    this.#lock.release()
  }

  /** Returns a message as clients see it: without paths of the machine. */
  withoutPaths(message: string): string {
    return message.replaceAll(`${this.folder}/jobs/`, '').replaceAll(`${this.folder}/`, '')
  }

  /** The path of a file's content. */
  contentOf({ id }: StoredFile): string {
    return join(this.folder, 'files', id, CONTENT)
  }

  /** Paths of a job's parts. */
  pathsOf({ id }: Pick<Job, 'id'>) {
    const folder = join(this.folder, 'jobs', id)
    const of = (name: string) => join(folder, name)
    const data = { training: of('training.jsonl'), validation: of('validation.jsonl') }
    return { folder, run: of('run'), continued: of(CONTINUED), ...data }
  }

  /**
   * Adds a file, unless `write` throws.
   * @param write receives a path to write the content to, and returns the rest of the record
   */
  async addFile(
    id: string,
    write: (path: string) => Promise<Omit<StoredFile, 'id' | 'createdAt'>>,
  ): Promise<StoredFile> {
    const createdAt = Date.now()
    const file = await replaceFolder(join(this.folder, 'files', id), async (folder) => {
      const record: StoredFile = { id, createdAt, ...(await write(join(folder, CONTENT))) }
      await writeFile(join(folder, RECORD), JSON.stringify(record))
      return record
    })
    this.files.set(id, file)
    return file
  }

  async removeFile({ id }: StoredFile): Promise<void> {
    this.files.delete(id)
    await removeFolder(join(this.folder, 'files', id))
  }

  /**
   * Adds a job with its own names for the content of its files, which may be deleted before it ends.
   * @param continued the folder of the adapter that it trains further
   */
  async addJob(
    job: Job,
    {
      training,
      validation,
      continued,
    }: { training: StoredFile; validation: StoredFile | null; continued: string | null },
  ): Promise<void> {
    await replaceFolder(this.pathsOf(job).folder, async (folder) => {
      await linkOrCopy(this.contentOf(training), join(folder, 'training.jsonl'))
      if (validation) await linkOrCopy(this.contentOf(validation), join(folder, 'validation.jsonl'))
      if (continued !== null) {
        await mkdir(join(folder, CONTINUED))
        for (const name of ADAPTER_FILES) await linkOrCopy(join(continued, name), join(folder, CONTINUED, name))
      }
      await writeFile(join(folder, RECORD), JSON.stringify(job))
    })
    this.jobs.set(job.id, job)
  }

  /** Replaces a job's record. */
  async setJob(job: Job, changes: Partial<Job>): Promise<Job> {
    return this.#set(this.jobs, this.pathsOf(job).folder, job.id, changes)
  }

  /** Paths of a batch's parts. */
  pathsOfBatch({ id }: Pick<RequestBatch, 'id'>) {
    const folder = join(this.folder, 'batches', id)
    const of = (name: string) => join(folder, name)
    return { folder, input: of('input.jsonl'), output: of('output.jsonl'), errors: of('errors.jsonl') }
  }

  /** Adds a batch with its own name for the content of its file, which may be deleted before it ends. */
  async addBatch(batch: RequestBatch, input: StoredFile): Promise<void> {
    await replaceFolder(this.pathsOfBatch(batch).folder, async (folder) => {
      await linkOrCopy(this.contentOf(input), join(folder, 'input.jsonl'))
      await writeFile(join(folder, RECORD), JSON.stringify(batch))
    })
    this.batches.set(batch.id, batch)
  }

  /** Replaces a batch's record. */
  async setBatch(batch: RequestBatch, changes: Partial<RequestBatch>): Promise<RequestBatch> {
    return this.#set(this.batches, this.pathsOfBatch(batch).folder, batch.id, changes)
  }

  async #set<One extends object>(
    records: Map<string, One>,
    folder: string,
    id: string,
    changes: Partial<One>,
  ): Promise<One> {
    const next = { ...records.get(id)!, ...changes }
    records.set(id, next)
    // In the order of the changes.
    await this.#writes(() => writeFileAtomic(join(folder, RECORD), JSON.stringify(next)))
    return next
  }

  /** Adds a message. The empty line before it ends a line that a killed process has left incomplete. */
  async tell(job: Pick<Job, 'id'>, level: JobMessage['level'], message: string): Promise<void> {
    const entry: JobMessage = { id: newId('ftevent-'), at: Date.now(), level, message }
    await this.#messages(() => appendLine(join(this.pathsOf(job).folder, MESSAGES), `\n${JSON.stringify(entry)}`))
  }

  /** Returns a job's messages, the oldest first: all that were told before the call. */
  messagesOf(job: Pick<Job, 'id'>): Promise<readonly JobMessage[]> {
    return this.#messages(() => this.lines.of<JobMessage>(join(this.pathsOf(job).folder, MESSAGES)))
  }
}

/** Returns a random id, such as `file-` and 24 letters. */
export const newId = (prefix: string): string =>
  prefix + [...randomBytes(24)].map((byte) => LETTERS[byte % LETTERS.length]).join('')

function read<Schema extends z.ZodType<{ id: string }>>(
  folder: string,
  schema: Schema,
  into: Map<string, z.output<Schema>>,
  onError: (error: unknown) => void,
): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name, RECORD)
    if (name.startsWith('.') || !existsSync(path)) continue
    try {
      const refuse = (problem: string) => new InputError('malformed-file', `${path}: ${problem}.`)
      const record = readAs(schema, parseJson(readTextSync(path), path), 'the record', refuse)
      into.set(record.id, record)
    } catch (error) {
      onError(error)
    }
  }
}

export async function linkOrCopy(from: string, to: string): Promise<void> {
  // Some file systems have no links.
  await link(from, to).catch(() => copyFile(from, to))
}
