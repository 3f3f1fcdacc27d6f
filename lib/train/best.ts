/** A run with `keepBest` or `patience` ends with the values of its best evaluation, in memory and in what it writes. */

import { existsSync } from 'node:fs'
import { optionName } from '../common/option-names.js'
import { endsWithBest } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import { checkpointPath, readCheckpointRecord, restoreTensors } from './checkpoints/checkpoint.js'
import { whyTorn } from './checkpoints/checkpoint-files.js'
import type { TrainResult } from './events.js'
import type { RankSync } from './rank-sync.js'
import type { RunOutput, Session } from './session.js'
import type { TrainerState } from './trainer-state.js'

/** Maximum number of bytes that are sent at once. */
const PIECE = 2 ** 22

/** Copies the current values to memory if the last evaluation was the best and no checkpoint will hold them. */
export async function noteBest(session: Session): Promise<void> {
  const { options, work, output, progress } = session
  const { sync, parameters } = work
  const { state } = progress
  if (!endsWithBest(options) || output.folder || !sync.isFirst || state.best?.step !== state.step) return
  const values = new Map<string, Float32Array>()
  for (const parameter of parameters) values.set(parameter.name, (await parameter.data()) as Float32Array)
  output.bestValues = values
}

/**
 * Gives trained tensors their values of the best evaluation, on all ranks. Returns a sentence that says which step's values the
 * run ends with; null if the last step is the best, or no option asks for the best.
 */
export async function restoreBest(session: Session): Promise<string | null> {
  const { options, work, output, progress } = session
  const { sync, parameters } = work
  const { best, step, mergedAt } = progress.state
  if (!endsWithBest(options) || best === null || best.step === step) return null
  const of = `step ${best.step}, whose evaluation loss ${best.evalLoss.toPrecision(5)} is the lowest`
  const last = `The run ends with the values of its last step, ${step}, and not of ${of}`
  if (mergedAt !== null && mergedAt >= best.step)
    return `${last}: the adapter was merged into the weights after it. To have them, resume the checkpoint of that step with ${optionName('maxSteps', best.step)}.`
  const problem = sync.isFirst ? await assignBest(session, best.step) : null
  const [failed] = await sync.broadcast(Uint8Array.of(Number(problem !== null)))
  if (failed) return `${last}: ${problem ?? 'rank 0 does not have them'}.`
  if (sync.ranks.size > 1) for (const parameter of parameters) await sendValues(parameter, sync)
  output.resultStep = best.step
  return `The run ends with the values of ${of}; it continues from step ${step} once it is resumed.`
}

/** Assigns the values from the checkpoint or from memory; returns why it cannot. */
async function assignBest({ work, output }: Session, step: number): Promise<string | null> {
  const { parameters, optimizer } = work
  if (output.bestValues) {
    for (const parameter of parameters) parameter.assign(output.bestValues.get(parameter.name)!)
    return null
  }
  const path = bestCheckpoint(output, step)
  if (path === null) return 'their checkpoint is gone'
  const problem = await whyTorn(path)
  if (problem) return `the checkpoint ${path} cannot be read (${problem})`
  const { updates } = await readCheckpointRecord(path)
  await restoreTensors(path, updates, parameters, optimizer)
  return null
}

/** Returns the checkpoint of a step, in the output or where the run was resumed from; null if there is none. */
function bestCheckpoint({ folder, resumedBeside }: RunOutput, step: number): string | null {
  const folders = [folder?.checkpoints, resumedBeside].filter((place) => typeof place === 'string')
  return folders.map((place) => checkpointPath(place, step)).find((path) => existsSync(path)) ?? null
}

/** Gives a parameter the values of the first rank. */
async function sendValues(parameter: Parameter, sync: RankSync): Promise<void> {
  const values = (await parameter.data()) as Float32Array
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  for (let start = 0; start < bytes.length; start += PIECE) {
    const own = sync.isFirst ? bytes.subarray(start, start + PIECE) : new Uint8Array(0)
    bytes.set(await sync.broadcast(own), start)
  }
  if (!sync.isFirst) parameter.assign(values)
}

/** The best evaluation of a run for its result. */
export function bestOf(output: RunOutput, { best, step }: TrainerState): TrainResult['best'] {
  if (best === null) return null
  return { ...best, path: bestCheckpoint(output, best.step), isResult: (output.resultStep ?? step) === best.step }
}
