/** The memory of a run, counted in a thread before anything is loaded. */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { RunError, UsageError } from '../common/errors.js'
import { currentVoice } from '../common/option-names.js'
import type { Counted, CountRequest } from './count.js'
import type { ThreadAnswer, ThreadRequest } from './thread.js'

/** Counts the memory of a run on a device. @throws what loading the model and planning the run throw */
export async function countMemory(
  request: CountRequest,
  { kind, index }: { readonly kind: string; readonly index: number },
): Promise<Counted> {
  const workerData: ThreadRequest = { ...request, device: { kind, index }, voice: currentVoice() }
  const worker = new Worker(createRequire(import.meta.url).resolve('#dist/fit/thread.js'), { workerData, execArgv: [] })
  const answer = await new Promise<ThreadAnswer>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new RunError('failed', 'The thread that counts the memory of the run has ended.')))
  })
  await worker.terminate()
  if ('counted' in answer) return answer.counted
  const { isUsage, code, message } = answer.failure
  throw isUsage ? new UsageError(code, message) : new RunError(code, message)
}
