/** `checkpoints/step-000100/`: everything that a run needs to continue as if it had never stopped. */

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { aFunction, aText, check, expecting } from '../../common/arguments.js'
import { about, InputError } from '../../common/errors.js'
import { removeFolder, replaceFolder, writeError, writeFileAtomic } from '../../io/atomic.js'
import { readJsonObject } from '../../io/json.js'
import { temporaryBeside } from '../../io/leftovers.js'
import { malformed } from '../../io/open.js'
import { readAs } from '../../io/read-as.js'
import { elementsOf } from '../../native/addon.js'
import type { AdamW } from '../../optim/adamw.js'
import { endsWithBest, type TrainSettings } from '../../options/index.js'
import { sync } from '../../system/files.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import { RunFactsSchema } from '../run-facts.js'
import type { RunWork } from '../session.js'
import { type TrainerState, TrainerStateSchema } from '../trainer-state.js'
import {
  MANIFEST,
  type ManifestFiles,
  manifestText,
  readTensors,
  safetensorsAtOnce,
  whyTorn,
  writeAtOnce,
  writeManifest,
  writeTensors,
} from './checkpoint-files.js'

const FORMAT = 2
const WEIGHTS = 'weights.safetensors'
const OPTIMIZER = 'optimizer.safetensors'
const STATE = 'state.json'
/** A file outside the manifest that marks a checkpoint as temporary: the next one replaces it. */
const BY_TIME = 'by-time'

const CheckpointRecordSchema = z.object({
  state: TrainerStateSchema,
  facts: RunFactsSchema,
  /** Number of updates of each trained tensor's moments, by tensor name. */
  updates: z.record(z.string(), z.int().min(0)),
})

type CheckpointRecord = z.output<typeof CheckpointRecordSchema>

export function checkpointPath(checkpoints: string, step: number): string {
  return join(checkpoints, `step-${String(step).padStart(6, '0')}`)
}

/** Returns the tensors in each file of a checkpoint. */
export function tensorFiles(
  parameters: readonly Parameter[],
  { tensors }: ReturnType<AdamW['state']>,
): [name: string, tensors: { name: string; tensor: Tensor }[]][] {
  return [
    [WEIGHTS, parameters.map((tensor) => ({ name: tensor.name, tensor }))],
    [OPTIMIZER, tensors],
  ]
}

/** Returns what a checkpoint holds besides the adapter's own files: files of tensors, and the text of the record. */
function contentsOf({ parameters, optimizer, facts }: CheckpointParts, state: TrainerState) {
  const moments = optimizer.state()
  const record = { format: FORMAT, state, updates: moments.updates, facts }
  return { files: tensorFiles(parameters, moments), record: `${JSON.stringify(record, null, 2)}\n` }
}

type CheckpointParts = Pick<RunWork, 'parameters' | 'optimizer' | 'facts'>

/**
 * Writes a checkpoint, completely or not at all. Returns its path, and the error that kept the adapter's own files out of it, if
 * any; a run can continue from it all the same. Throws a `RunError` if a value is not finite.
 * @param saveAdapter writes the adapter's own files too, so that the checkpoint can be used as an adapter
 * @param byTime whether the next checkpoint replaces this one
 */
export async function writeCheckpoint(
  checkpoints: string,
  parts: CheckpointParts,
  state: TrainerState,
  { saveAdapter, byTime }: { saveAdapter: ((folder: string) => Promise<void>) | null; byTime: boolean },
): Promise<{ path: string; failure: unknown }> {
  const path = checkpointPath(checkpoints, state.step)
  const { files, record } = contentsOf(parts, state)
  let failure: unknown = null
  await replaceFolder(path, async (folder) => {
    for (const [name, tensors] of files) await writeTensors(join(folder, name), tensors)
    await saveAdapter?.(folder).catch((error: unknown) => {
      failure = error
    })
    await writeFileAtomic(join(folder, STATE), record)
    await writeManifest(folder, state.step)
    if (byTime) await writeFileAtomic(join(folder, BY_TIME), '')
  })
  return { path, failure }
}

/**
 * Writes a temporary checkpoint within one call: without waiting, without syncing to disk and without the adapter's own files. It
 * survives the end of the process; after a power cut its manifest shows whether it is whole. Writes nothing if values cannot be
 * read at once or are not finite, if the step already has a checkpoint, or if the disk refuses: in those cases the run's regular
 * checkpoint reports the error.
 */
export function writeCheckpointAtOnce(checkpoints: string, parts: CheckpointParts, state: TrainerState): void {
  const path = checkpointPath(checkpoints, state.step)
  if (existsSync(path)) return
  const { files, record } = contentsOf(parts, state)
  const ofTensors = files.flatMap(([name, tensors]) => {
    const bytes = safetensorsAtOnce(tensors)
    return bytes ? [[name, bytes] as const] : []
  })
  if (ofTensors.length < files.length) return
  const folder = temporaryBeside(path, 'tmp')
  try {
    mkdirSync(folder, { recursive: true })
    const manifest: ManifestFiles = {}
    for (const [name, bytes] of [...ofTensors, [STATE, [Buffer.from(record)]] as const])
      manifest[name] = writeAtOnce(join(folder, name), bytes)
    writeFileSync(join(folder, MANIFEST), manifestText(state.step, manifest))
    writeFileSync(join(folder, BY_TIME), '')
    renameSync(folder, path)
  } catch {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Reads the state and facts of the run that a checkpoint belongs to. */
export async function readCheckpointRecord(path: string): Promise<CheckpointRecord> {
  const file = join(path, STATE)
  const record = await readJsonObject(file)
  if (record.format !== FORMAT) {
    throw new InputError(
      'malformed-file',
      `${file} is not the state of a checkpoint of format ${FORMAT} (it says ${JSON.stringify(record.format) ?? 'none'}).`,
    )
  }
  return readAs(CheckpointRecordSchema, record, 'the record', (problem) => malformed(file, problem))
}

/**
 * Loads a checkpoint's weights and moments into parameters and an optimizer that are set up as for a new run. Throws an
 * `InputError` if they are not the tensors that were saved.
 */
export async function restoreTensors(
  path: string,
  updates: CheckpointRecord['updates'],
  parameters: readonly Parameter[],
  optimizer: AdamW,
): Promise<void> {
  const missing = new Map(parameters.map((parameter) => [parameter.name, parameter]))
  for await (const { name, values } of readTensors(join(path, WEIGHTS))) {
    const parameter = missing.get(name)
    const expected = parameter && elementsOf(parameter.shape)
    if (!parameter || expected !== values.length) {
      throw new InputError(
        'unfit-checkpoint',
        `${path} holds ${name} with ${values.length} values, but this run trains ${parameter ? expected : 'no such tensor'}.`,
      )
    }
    parameter.assign(values)
    missing.delete(name)
  }
  const [left] = missing.keys()
  if (left !== undefined) {
    throw new InputError('unfit-checkpoint', `${path} does not hold ${left}, which this run trains.`)
  }
  const moments = new Map<string, Float32Array>()
  for await (const { name, values } of readTensors(join(path, OPTIMIZER))) moments.set(name, values)
  try {
    optimizer.load({ updates, tensors: moments })
  } catch (error) {
    throw about(path, error)
  }
}

/** Returns a run's checkpoints, complete or torn, the newest first. */
export async function listCheckpoints(checkpoints: string): Promise<{ step: number; path: string }[]> {
  const names = await readdir(checkpoints).catch(() => [])
  return names
    .flatMap((name) => {
      const step = /^step-(\d+)$/.exec(name)?.[1]
      return step === undefined ? [] : [{ step: Number(step), path: join(checkpoints, name) }]
    })
    .sort((a, b) => b.step - a.step)
}

const newestIntactCheckpointArguments = { checkpoints: expecting('the path of a folder', aText), notice: aFunction }

/** Returns the newest checkpoint whose files match its manifest; calls `notice` for each torn one that it skips. */
export async function newestIntactCheckpoint(
  checkpoints: string,
  notice: (message: string) => void,
): Promise<string | null> {
  check({ checkpoints, notice }, newestIntactCheckpointArguments)
  for (const { path } of await listCheckpoints(checkpoints)) {
    const problem = await whyTorn(path)
    if (problem === null) return path
    notice(`The checkpoint ${path} is skipped: ${problem}.`)
  }
  return null
}

/** Whether the next checkpoint replaces this one. */
export function isByTime(path: string): boolean {
  return existsSync(join(path, BY_TIME))
}

/** Makes a temporary checkpoint permanent. */
export async function keepCheckpoint(path: string): Promise<void> {
  const mark = join(path, BY_TIME)
  await rm(mark, { force: true }).catch((error) => Promise.reject(writeError(error, mark)))
  await sync(path)
}

/**
 * Removes old checkpoints: temporary ones, except the newest checkpoint of all, and permanent ones beyond the newest
 * `keepCheckpoints`. The checkpoint of the best step stays for a run that ends with it.
 */
export async function pruneCheckpoints(
  checkpoints: string,
  { keepCheckpoints: keep, keepBest, patience }: Pick<TrainSettings, 'keepCheckpoints' | 'keepBest' | 'patience'>,
  { best }: Pick<TrainerState, 'best'>,
): Promise<void> {
  const found = await listCheckpoints(checkpoints)
  const replaced = found.slice(1).filter(({ path }) => isByTime(path))
  const superfluous = keep === undefined ? [] : found.filter(({ path }) => !isByTime(path)).slice(keep)
  const bestStep = endsWithBest({ keepBest, patience }) ? best?.step : undefined
  for (const { step, path } of [...replaced, ...superfluous]) if (step !== bestStep) await removeFolder(path)
}

/** Removes what a run that continues from `step` will write again: later checkpoints, and incomplete ones after a crash. */
export async function removeLaterCheckpoints(checkpoints: string, step: number): Promise<void> {
  const halves = (await readdir(checkpoints).catch(() => []))
    .filter((name) => /^\.step-\d+\..*\.(tmp|old)$/.test(name))
    .map((name) => join(checkpoints, name))
  const later = (await listCheckpoints(checkpoints)).filter((found) => found.step > step).map(({ path }) => path)
  for (const path of halves) await rm(path, { recursive: true, force: true })
  for (const path of later) await removeFolder(path)
}
