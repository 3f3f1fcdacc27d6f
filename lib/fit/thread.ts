/** The thread in which a run's memory is counted: its addon is a counting one, while others compute in the process. */
import { parentPort, workerData } from 'node:worker_threads'
import { MoraError, UsageError } from '../common/errors.js'
import { speakAs, type Voice } from '../common/option-names.js'
import { type Native, native } from '../native/addon.js'
import { loadBinary, replaceBinary } from '../native/binary.js'
import { type Counted, countRun } from './count.js'
import { countingAddon } from './counting-addon.js'
import type { RunToFit } from './run-model.js'

export interface ThreadRequest extends RunToFit {
  readonly device: { readonly kind: string; readonly index: number }
  readonly voice: Voice
}

/** The message of the thread: what it counted, or an error of this package. */
export type ThreadAnswer =
  | { readonly counted: Counted }
  | { readonly failure: { readonly isUsage: boolean; readonly code: string; readonly message: string } }

async function answer({ device, voice, ...run }: ThreadRequest): Promise<ThreadAnswer> {
  speakAs(voice)
  try {
    const real = native.openDevice(device.kind, device.index, 0)
    const counting = countingAddon(loadBinary() as Native, real)
    replaceBinary(counting.addon)
    return { counted: await countRun(run, counting.device) }
  } catch (error) {
    if (!(error instanceof MoraError)) throw error
    const { code, message } = error
    return { failure: { isUsage: error instanceof UsageError, code, message } }
  }
}

parentPort!.postMessage(await answer(workerData as ThreadRequest))
