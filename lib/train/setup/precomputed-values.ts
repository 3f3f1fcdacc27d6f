/** Values of all rows that an objective looks up in every epoch: computed once, and stored in the output folder. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Batch, boundsOf, targetCounts } from '../../batches/batch.js'
import type { StepRow } from '../../batches/step-rows.js'
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { writeFileAtomic } from '../../io/atomic.js'
import type { KeptValues } from '../../objectives/objective.js'
import type { RunRows } from '../rows.js'
import type { RunWork } from '../session.js'

/** Values by the hash of a document. */
type Values = Map<string, Float32Array>

/** Rows whose passes are planned together. */
const ROWS_AT_ONCE = 64

/**
 * Provides the objective with its precomputed values, from the file if that belongs to these rows and models.
 * @param path the file, on the rank that writes; null if nothing is written
 */
export async function withPrecomputedValues(
  work: RunWork,
  rows: RunRows,
  { path, isResumed }: { path: string | null; isResumed: boolean },
): Promise<RunWork> {
  const { objective, facts, sync, restarts, teachers } = work
  const { keep } = objective
  if (!keep) return work
  const hash = createHash('sha256')
    .update(JSON.stringify([facts.hashes, facts.machine.dtype, keep.settings, keep.width]))
    .digest()
  const isOnDisk = path !== null && keep.settings !== null
  const found = isOnDisk ? await readFile(path).catch(() => null) : null
  const isCurrent = found !== null && decoded(found, hash) !== null
  const [first] = await sync.gather(isCurrent ? found : new Uint8Array(0))
  let values = first!.length > 0 ? decoded(first!, hash) : null
  if (!values) {
    // The weights that the values come from have changed since the run began.
    if (isResumed && (facts.options.method === 'full' || restarts)) throw lost(path)
    const all = await sync.gather(encoded(await computed(keep, work, rows), hash))
    values = new Map(all.flatMap((bytes) => [...decoded(bytes, hash)!]))
    if (isOnDisk) await writeFileAtomic(path, encoded(values, hash))
  }
  for (const teacher of teachers) teacher.dispose()
  const kept = (batch: Batch) => lookUp(values, batch)
  const { loss, stepSums } = objective
  return {
    ...work,
    objective: {
      ...objective,
      loss: (model, batch, how) => loss(model, batch, { ...how, kept }),
      stepSums: stepSums && { length: stepSums.length, of: (model, batch) => stepSums.of(model, batch, { kept }) },
    },
  }
}

function lost(path: string | null): UsageError {
  const where = path === null ? 'no output folder holds' : `${path} does not hold`
  return new UsageError(
    'changed-run',
    `The reference is the model that the run began with, whose weights have changed since, and ${where} what was computed with it: resume the run in its own output folder, or start a new run.`,
  )
}

/** Computes the values of this rank's share of all rows. */
async function computed(keep: KeptValues, work: RunWork, { allRows, batchesOf }: RunRows): Promise<Values> {
  const { passes, facts, sync, signal } = work
  if (!allRows) {
    throw new UsageError(
      'unfit-options',
      `Values of rows are computed before the first step, but these rows are read as steps need them: give ${optionName('shuffleBuffer')} 0.`,
    )
  }
  const { rank, size } = sync.ranks
  const values: Values = new Map()
  for (const rows of allRows) {
    for (let first = rank; first < rows.length; first += ROWS_AT_ONCE * size) {
      const some: StepRow[] = []
      for (let row = first; row < rows.length && some.length < ROWS_AT_ONCE; row += size)
        some.push({ ...rows.row(row), row: some.length })
      for (const batch of batchesOf(some, facts.machine.tokenBudget)) {
        signal?.throwIfAborted()
        const own = await keep.of(passes, batch)
        let at = 0
        for (const { key, targets } of documentsOf(batch)) {
          values.set(key, own.slice(at, at + targets * keep.width))
          at += targets * keep.width
        }
      }
    }
  }
  return values
}

/** Returns the values of a batch's targets, in order; null if it has a document that is not one of the rows. */
function lookUp(values: Values, batch: Batch): Float32Array | null {
  const found = documentsOf(batch).map(({ key }) => values.get(key))
  if (found.includes(undefined)) return null
  const all = new Float32Array(found.reduce((sum, one) => sum + one!.length, 0))
  let at = 0
  for (const one of found) {
    all.set(one!, at)
    at += one!.length
  }
  return all
}

/** Returns the hash of each document's ids and targets, and the number of its targets. */
function documentsOf(batch: Batch): { key: string; targets: number }[] {
  return targetCounts(batch).map((targets, document) => {
    const bounds = boundsOf(batch, document)
    const hash = createHash('sha256')
      .update(batch.ids.subarray(...bounds))
      .update(batch.targets.subarray(...bounds))
    return { key: hash.digest('hex'), targets }
  })
}

/** The hash, the number of documents, their keys and numbers of values, and all values. */
function encoded(values: Values, hash: Uint8Array): Uint8Array {
  const count = Uint32Array.of(values.size)
  const keys = Buffer.from([...values.keys()].join(''), 'hex')
  const sizes = Uint32Array.from(values.values(), ({ length }) => length)
  const parts = [count, sizes, ...values.values()]
  const bytes = parts.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength))
  return Buffer.concat([hash, bytes[0]!, keys, ...bytes.slice(1)])
}

/** Returns the values; null if they are of other rows or models, or cut off. */
function decoded(bytes: Uint8Array, hash: Uint8Array): Values | null {
  const all = Buffer.from(bytes)
  const start = hash.length + 4
  if (all.length < start || !all.subarray(0, hash.length).equals(hash)) return null
  const count = all.readUInt32LE(hash.length)
  const sizesAt = start + 32 * count
  let at = sizesAt + 4 * count
  if (at > all.length) return null
  const values: Values = new Map()
  for (let i = 0; i < count; i++) {
    const size = 4 * all.readUInt32LE(sizesAt + 4 * i)
    if (at + size > all.length) return null
    const own = new Float32Array(size / 4)
    new Uint8Array(own.buffer).set(all.subarray(at, at + size))
    values.set(all.toString('hex', start + 32 * i, start + 32 * (i + 1)), own)
    at += size
  }
  return at === all.length ? values : null
}
