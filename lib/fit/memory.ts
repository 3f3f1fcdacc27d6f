/** The memory of a run, counted in a thread before anything is loaded. */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { type MoraError, RunError, UsageError } from '../common/errors.js'
import { currentVoice, optionName } from '../common/option-names.js'
import type { Counted } from './count.js'
import type { RunToFit } from './run-model.js'
import type { ThreadAnswer, ThreadRequest } from './thread.js'

/** Counts the memory of runs on a device, in a thread; an error of this package stands for a run that is refused. */
export async function countMemory(
  runs: readonly RunToFit[],
  { kind, index }: { readonly kind: string; readonly index: number },
): Promise<(Counted | MoraError)[]> {
  const worker = threadFor({ runs, device: { kind, index }, voice: currentVoice() })
  const answers = await new Promise<ThreadAnswer[]>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () =>
      reject(new RunError('process-ended', 'The thread that counts the memory of the run has ended.')),
    )
  })
  await worker.terminate()
  return answers.map((answer) => {
    if ('counted' in answer) return answer.counted
    const { isUsage, code, message } = answer.failure
    return isUsage ? new UsageError(code, message) : new RunError(code, message)
  })
}

function threadFor(workerData: ThreadRequest): Worker {
  try {
    return new Worker(createRequire(import.meta.url).resolve('#dist/fit/thread.js'), { workerData, execArgv: [] })
  } catch (error) {
    if (!(error instanceof DOMException)) throw error
    throw new UsageError(
      'bad-value',
      `Expected paths, hub ids or arrays of rows for ${optionName('data')}, since a thread reads them, but received rows that cannot be copied: ${error.message}`,
    )
  }
}
