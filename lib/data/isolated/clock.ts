/**
 * The thread that kills the isolated process if a request takes too much time or memory, since such a request cannot be
 * interrupted.
 */
import { workerData } from 'node:worker_threads'

/**
 * Places of the number of requests so far, and of the current request's limits of time [s] and process size [MiB]; 0 between
 * requests.
 */
const [BEGUN, SECONDS, MEBIBYTES] = [0, 1, 2]
const TICKS_OF_A_SECOND = 10

const current = workerData as Int32Array
let last = 0
let ticks = 0

// Counts ticks, not time, so that a process that is suspended or gets little processor time is not killed.
setInterval(() => {
  const request = Atomics.load(current, BEGUN)
  const seconds = Atomics.load(current, SECONDS)
  ticks = request === last && seconds > 0 ? ticks + 1 : 0
  last = request
  if (ticks > seconds * TICKS_OF_A_SECOND) process.kill(process.pid, 'SIGALRM')
  const mebibytes = Atomics.load(current, MEBIBYTES)
  if (mebibytes > 0 && process.memoryUsage.rss() > mebibytes * 2 ** 20) process.kill(process.pid, 'SIGKILL')
}, 1000 / TICKS_OF_A_SECOND)
