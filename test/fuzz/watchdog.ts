/** Ends the process when a case hangs, and names the case, which an endless loop cannot do itself. */
import { Worker } from 'node:worker_threads'

/** Longer than any case takes on a slow machine under sanitizers. */
const MAX_SECONDS = 60

const source = `
  const { workerData: { beats, limit } } = require('node:worker_threads')
  const { writeSync } = require('node:fs')
  const [counter, name] = [new Int32Array(beats, 0, 1), new Uint8Array(beats, 4)]
  let [last, since] = [-1, 0]
  setInterval(() => {
    const beat = Atomics.load(counter, 0)
    since = beat === last ? since + 1 : 0
    last = beat
    if (since < limit || name[0] === 0) return
    const text = Buffer.from(name.slice(0, name.indexOf(0))).toString()
    writeSync(2, '\\nThe case ' + text + ' did not end within ' + limit + ' s.\\n')
    process.kill(process.pid, 'SIGKILL')
  }, 1000).unref()
  setInterval(() => {}, 1 << 30)
`

export class Watchdog implements Disposable {
  readonly #beats = new SharedArrayBuffer(256)
  readonly #worker = new Worker(source, { eval: true, workerData: { beats: this.#beats, limit: MAX_SECONDS } })

  constructor() {
    this.#worker.unref()
  }

  /** Marks the begin of a case; the empty name means that none runs. */
  begin(name: string): void {
    const bytes = new Uint8Array(this.#beats, 4)
    bytes.fill(0)
    bytes.set(Buffer.from(name).subarray(0, bytes.length - 1))
    Atomics.add(new Int32Array(this.#beats, 0, 1), 0, 1)
  }

  [Symbol.dispose](): void {
    void this.#worker.terminate()
  }
}
