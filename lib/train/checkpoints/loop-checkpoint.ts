/** Checkpoints of a custom training loop, in the layout of a run's: `newestIntactCheckpoint` finds the last one. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import type { DataLoader, LoaderState } from '../../batches/loader.js'
import {
  anObject,
  aText,
  badValue,
  check,
  expecting,
  having,
  optionsSchema,
  wholeFrom,
} from '../../common/arguments.js'
import { InputError, UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import type { RandomState, RandomStream } from '../../common/random.js'
import { replaceFolder, writeFileAtomic } from '../../io/atomic.js'
import { readJsonObject } from '../../io/json.js'
import { malformed } from '../../io/open.js'
import { readAs } from '../../io/read-as.js'
import type { Model } from '../../models/model.js'
import { AdamW } from '../../optim/adamw.js'
import type { Parameter } from '../../tensor/parameter.js'
import { checkpointPath, restoreTensors, tensorFiles } from './checkpoint.js'
import { whyTorn, writeManifest, writeTensors } from './checkpoint-files.js'

const FORMAT = 1
const LOOP = 'loop.json'

/** The parts of a custom training loop that continue from a checkpoint. */
export interface TrainingLoop {
  /** The model, with the adapters that are trained. */
  model: Model
  /** The optimizer; its state is saved with the model's parameters. */
  optimizer: AdamW
  /** The loader of the loop's batches: its position is saved as JSON. */
  loader?: Pick<DataLoader, 'state' | 'load'>
  /** A stream of random numbers that the loop reads, from `randomStream`. */
  random?: Pick<RandomStream, 'state' | 'load'>
}

const parts = {
  model: having('a model', 'trainableParameters', 'saveAdapter', 'adapterSet'),
  optimizer: expecting('an AdamW', z.instanceof(AdamW)),
  loader: having('a loader with state() and load()', 'state', 'load').optional(),
  random: having('a stream of random numbers with state() and load()', 'state', 'load').optional(),
}

const saveArguments = {
  folder: expecting('the path of a folder', aText),
  loop: optionsSchema('what is saved', { ...parts, step: wholeFrom(0), values: anObject.optional() }),
}

const loadArguments = {
  path: expecting('the path of a checkpoint', aText),
  loop: optionsSchema('what is loaded', parts),
}

const count = z.int().min(0)
const RecordSchema = z.object({
  step: count,
  updates: z.record(z.string(), count),
  loader: z.unknown().optional(),
  random: z.unknown().optional(),
  values: z.record(z.string(), z.unknown()),
})

/**
 * Writes `FOLDER/step-000100`, completely or not at all: the trained tensors, the optimizer's moments, and the positions of the
 * loader and the random stream. If one adapter is active, the checkpoint is an adapter's folder too. Returns its path.
 *
 * ```ts
 * import { AdamW, DataLoader, loadCheckpoint, loadModel, mora, newestIntactCheckpoint, saveCheckpoint } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await model.addAdapter('math', mora({ rank: 8 }))
 * const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
 * const loader = new DataLoader([{ ids: [5, 17, 3, 9] }, { ids: [8, 2, 4] }], { batchSize: 1, seed: 1 })
 *
 * const found = await newestIntactCheckpoint('checkpoints', console.warn)
 * let { step } = found ? await loadCheckpoint(found, { model, optimizer, loader }) : { step: 0 }
 * for await (const batch of loader) {
 *   const { loss, targetTokens } = model.loss(batch)
 *   await loss.backward()
 *   loss.dispose()
 *   optimizer.step({ learningRate: 3e-4, scaleGradients: 1 / targetTokens }).dispose()
 *   await saveCheckpoint('checkpoints', { model, optimizer, loader, step: ++step })
 * }
 * ```
 *
 * @throws RunError `non-finite` if a value is not finite, `write-failed`
 */
export async function saveCheckpoint(
  folder: string,
  loop: TrainingLoop & {
    /** Optimizer steps taken; names the checkpoint's folder. */
    step: number
    /** Further values of the loop that JSON can represent, such as the lowest loss so far. */
    values?: Readonly<Record<string, unknown>>
  },
): Promise<string> {
  check({ folder, loop }, saveArguments)
  const { model, optimizer, loader, random, step, values = {} } = loop
  const parameters = trainedBy(loop)
  const moments = optimizer.state()
  const record = {
    format: FORMAT,
    step,
    updates: moments.updates,
    loader: loader?.state(),
    random: random?.state(),
    values,
  }
  const text = jsonOf(record)
  const active = model.adapterSet.activeNames()
  const path = checkpointPath(folder, step)
  await replaceFolder(path, async (place) => {
    for (const [name, tensors] of tensorFiles(parameters, moments)) await writeTensors(join(place, name), tensors)
    if (active.length === 1) await model.saveAdapter(active[0]!, place)
    await writeFileAtomic(join(place, LOOP), text)
    await writeManifest(place, step)
  })
  return path
}

/**
 * Restores what `saveCheckpoint` wrote: the values of the trained tensors, the optimizer, the loader and the random stream, all
 * made as for a new loop. The loop then continues bit for bit as if it had never stopped. Returns the number of optimizer steps
 * taken, and the further values that were saved.
 * @throws InputError `torn-checkpoint` if a file is missing or differs, `unfit-checkpoint` if other tensors were saved, or not
 * exactly the parts that are given
 */
export async function loadCheckpoint(
  path: string,
  loop: TrainingLoop,
): Promise<{
  /** The step after which it was saved. */
  step: number
  /** The loop's own values. */
  values: Record<string, unknown>
}> {
  check({ path, loop }, loadArguments)
  const problem = await whyTorn(path)
  if (problem !== null) {
    throw new InputError('torn-checkpoint', `The checkpoint ${path} cannot be loaded: ${problem}.`)
  }
  const { step, updates, values, ...saved } = await readRecord(path)
  for (const part of ['loader', 'random'] as const) {
    if ((saved[part] === undefined) === (loop[part] === undefined)) continue
    const [has, given] = saved[part] === undefined ? ['no', 'one is'] : ['a', 'none is']
    throw new InputError(
      'unfit-checkpoint',
      `${path} has ${has} state of the ${NAMES[part]}, but ${given} given to continue it.`,
    )
  }
  await restoreTensors(path, updates, trainedBy(loop), loop.optimizer)
  loop.loader?.load(saved.loader as LoaderState)
  loop.random?.load(saved.random as RandomState)
  return { step, values }
}

const NAMES = { loader: 'loader', random: 'random stream' }

/** Returns the model's trained parameters and the optimizer's others. */
function trainedBy({ model, optimizer }: TrainingLoop): Parameter[] {
  const byName = new Map<string, Parameter>()
  for (const one of [...model.trainableParameters().map(({ parameter }) => parameter), ...optimizer.parameters]) {
    if ((byName.get(one.name) ?? one) !== one) {
      throw new UsageError('bad-value', `Two trained parameters have the name ${one.name}: give each its own.`)
    }
    byName.set(one.name, one)
  }
  return [...byName.values()]
}

function jsonOf(record: { values: Readonly<Record<string, unknown>> }): string {
  const { values } = record
  try {
    if (isDeepStrictEqual(JSON.parse(JSON.stringify(values)), values)) return `${JSON.stringify(record, null, 2)}\n`
  } catch {
    // A cycle or a bigint.
  }
  throw badValue('values', 'an object that is the same after JSON', values)
}

async function readRecord(path: string): Promise<z.output<typeof RecordSchema>> {
  const file = join(path, LOOP)
  if (!existsSync(file)) {
    throw new InputError(
      'malformed-file',
      `${path} has no ${LOOP}: saveCheckpoint did not write it. A run of train continues with ${theOption('resume')}.`,
    )
  }
  const record = await readJsonObject(file)
  if (record.format !== FORMAT)
    throw malformed(file, `expected format ${FORMAT}, received ${JSON.stringify(record.format) ?? 'nothing'}`)
  return readAs(RecordSchema, record, 'the record', (problem) => malformed(file, problem))
}
