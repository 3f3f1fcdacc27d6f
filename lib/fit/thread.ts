/** The thread in which a run's memory is counted: its addon is a counting one, while others compute in the process. */
import { parentPort, workerData } from 'node:worker_threads'
import { MoraError, UsageError } from '../common/errors.js'
import { speakAs, type Voice } from '../common/option-names.js'
import { type Native, native } from '../native/addon.js'
import { loadBinary, replaceBinary } from '../native/binary.js'
import { type Counted, countRun } from './count.js'
import { countingAddon } from './counting-addon.js'
import type { RunToFit } from './run-model.js'

export interface ThreadRequest {
  readonly runs: readonly RunToFit[]
  readonly device: { readonly kind: string; readonly index: number }
  readonly voice: Voice
}

/** What the thread says of a run: what it counted, or an error of this package. */
export type ThreadAnswer =
  | { readonly counted: Counted }
  | { readonly failure: { readonly isUsage: boolean; readonly code: string; readonly message: string } }

const { device, voice, runs } = workerData as ThreadRequest
speakAs(voice)
const real = native.openDevice(device.kind, device.index, 0)
const binary = loadBinary() as Native

async function answer(run: RunToFit): Promise<ThreadAnswer> {
  const counting = countingAddon(binary, real)
  replaceBinary(counting.addon)
  try {
    return { counted: await countRun(run, counting.device) }
  } catch (error) {
    if (!(error instanceof MoraError)) throw error
    const { code, message } = error
    return { failure: { isUsage: error instanceof UsageError, code, message } }
  }
}

const answers: ThreadAnswer[] = []
for (const run of runs) answers.push(await answer(run))
parentPort!.postMessage(answers)
