import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { SideProcess } from '../common/side-process.mjs'

const MORA = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const PROBE = fileURLToPath(new URL('../serving/health-client.mjs', import.meta.url))

/** `mora serve` in a process of its own. */
export class Server {
  #child
  #probe
  log = ''

  /**
   * @param {string} model
   * @param {string[]} flags
   */
  static async start(model, flags = []) {
    const server = new Server(
      spawn(process.execPath, [MORA, 'serve', '--model', model, '--port', '0', '--json', '--grace', '0', ...flags]),
    )
    await server.ready()
    return server
  }

  /** @param {import('node:child_process').ChildProcessWithoutNullStreams} child */
  constructor(child) {
    this.#child = child
    child.stderr.on('data', (text) => {
      this.log += text
    })
    this.#probe = new SideProcess('probe', process.execPath, [PROBE])
  }

  async ready() {
    const lines = createInterface({ input: this.#child.stdout })
    const [line] = await once(lines, 'line')
    this.origin = JSON.parse(line).url
    await this.#probe.ready()
  }

  /** Asks /health every 10 ms for some seconds; returns how long the answers took at most, and those of an idle process [ms]. */
  async probe(seconds) {
    const { asked, own } = await this.#probe.ask({ url: `${this.origin}/health`, seconds })
    return { most: Math.max(...asked), idle: Math.max(...own), count: asked.length }
  }

  /**
   * Sends a request; its answer's status, whole text, and seconds. A status of 0 is a connection that failed.
   * @param {string} path
   * @param {unknown} body
   * @param {{ signal?: AbortSignal, onPiece?: (text: string) => void }} [how]
   * @returns {Promise<{ status: number, text: string, seconds: number }>}
   */
  post(path, body, { signal, onPiece } = {}) {
    const start = performance.now()
    const seconds = () => (performance.now() - start) / 1000
    return new Promise((resolve) => {
      const failed = (error) => resolve({ status: 0, text: String(error), seconds: seconds() })
      const headers = { 'content-type': 'application/json' }
      const request = httpRequest(
        `${this.origin}${path}`,
        { method: 'POST', headers, agent: false, signal },
        (answer) => {
          let text = ''
          answer.setEncoding('utf8')
          answer.on('data', (piece) => {
            text += piece
            onPiece?.(piece)
          })
          answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text, seconds: seconds() }))
          answer.once('error', failed)
        },
      )
      request.once('error', failed)
      request.end(typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body))
    })
  }

  /** @returns {Promise<string>} */
  async metrics() {
    return (await fetch(`${this.origin}/metrics`)).text()
  }

  /** The value of a metric. */
  async metric(name) {
    return Number(new RegExp(`^mora_${name} (.*)$`, 'm').exec(await this.metrics())?.[1])
  }

  /** Resident memory [MiB]: now, and the most since `forgetPeak`. */
  memory() {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
    const of = (name) => Math.round(Number(new RegExp(`${name}:\\s*(\\d+) kB`).exec(status)?.[1]) / 1024)
    return { now: of('VmRSS'), peak: of('VmHWM') }
  }

  forgetPeak() {
    writeFileSync(`/proc/${this.#child.pid}/clear_refs`, '5')
  }

  /** Terminates the server; returns the seconds until it has ended. */
  async stop() {
    await this.#probe.stop()
    if (this.#child.exitCode !== null) return 0
    const start = performance.now()
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await ended
    return (performance.now() - start) / 1000
  }
}

/** Calls a function again and again until the time is over; each gets its number. */
export async function repeat(seconds, work) {
  const end = performance.now() + 1000 * seconds
  for (let i = 0; performance.now() < end; i++) await work(i)
}

/** Returns the number of each status as text. */
export function countsOf(statuses) {
  const counts = new Map()
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${count} × ${status}`)
    .join(', ')
}

/** Returns the value that a share of all is at most. */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}
