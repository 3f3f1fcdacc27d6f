/** The thread that ends an isolated process whose work does not end: that cannot be asked to, only ended as a whole. */
import { workerData } from 'node:worker_threads'

/** How many requests were begun, and how long [s] and to which size of the process [MiB] the one in work may go: 0 between two. */
const [BEGUN, SECONDS, MEBIBYTES] = [0, 1, 2]
const TICKS_OF_A_SECOND = 10

const current = workerData as Int32Array
let last = 0
let ticks = 0

// Ticks instead of a clock: a process that was stopped for a while, or gets little of the processor's time, counts few.
setInterval(() => {
  const request = Atomics.load(current, BEGUN)
  const seconds = Atomics.load(current, SECONDS)
  ticks = request === last && seconds > 0 ? ticks + 1 : 0
  last = request
  if (ticks > seconds * TICKS_OF_A_SECOND) process.kill(process.pid, 'SIGALRM')
  const mebibytes = Atomics.load(current, MEBIBYTES)
  if (mebibytes > 0 && process.memoryUsage.rss() > mebibytes * 2 ** 20) process.kill(process.pid, 'SIGKILL')
}, 1000 / TICKS_OF_A_SECOND)
