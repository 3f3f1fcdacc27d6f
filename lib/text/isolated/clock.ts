/**
 * The thread that kills the isolated process if its current work takes too much time or memory, since such work cannot be
 * interrupted. It first writes the number of the request, so that the parent can tell this end from one by another program.
 */
import { writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { endThisProcess } from '../../system/processes.js'
import { type Ending, lastWords, place } from './limits.js'

const TICKS_OF_A_SECOND = 10

const current = workerData as Int32Array
let last = 0
let ticks = 0

// Counts ticks, not time, so that a process that is suspended or gets little processor time is not killed.
setInterval(() => {
  const work = Atomics.load(current, place.work)
  const seconds = Atomics.load(current, place.seconds)
  ticks = work === last && seconds > 0 ? ticks + 1 : 0
  last = work
  if (ticks > seconds * TICKS_OF_A_SECOND) end('SIGALRM')
  const mebibytes = Atomics.load(current, place.mebibytes)
  if (mebibytes > 0 && process.memoryUsage.rss() > mebibytes * 2 ** 20) end('SIGKILL')
}, 1000 / TICKS_OF_A_SECOND)

function end(ending: Ending): void {
  writeSync(2, lastWords(Atomics.load(current, place.request), ending))
  endThisProcess(ending)
}
