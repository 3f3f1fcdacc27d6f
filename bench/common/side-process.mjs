import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** @typedef {[command: string, commandArguments: string[], environment?: Record<string, string | undefined>]} Command */

/**
 * One side of a comparison in a process of its own: it writes a line of JSON once it is ready, and answers each request, a line
 * of JSON, with another.
 */
export class SideProcess {
  #child
  #lines
  #errors = ''

  constructor(name, command, commandArguments, environment = {}) {
    this.name = name
    this.#child = spawn(command, commandArguments, {
      env: { ...process.env, ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child.stdin.on('error', () => {}) // the missing answer is the error that is reported
    this.#child.stderr.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    this.ended = new Promise((resolve) => {
      this.#child.on('error', resolve)
      this.#child.on('close', resolve)
    })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** Resolves with the process's first line once it has loaded; ends a process that takes longer than `seconds`. */
  async ready(seconds) {
    const limit = seconds && setTimeout(() => this.#child.kill(), 1000 * seconds)
    this.facts = await this.#answer().finally(() => clearTimeout(limit))
    return this.facts
  }

  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    return await this.#answer()
  }

  /** Peak resident memory [bytes]. */
  peakMemory() {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
    return Number(/VmHWM:\s*(\d+) kB/.exec(status)?.[1]) * 1024
  }

  async stop() {
    this.#child.stdin.end()
    await this.ended
  }

  async #answer() {
    const { value, done } = await this.#lines.next()
    if (!done) return parsed(value)
    await this.ended
    throw new Error(`${this.name} ended early: ${this.#errors.trim() || 'without a message'}`)
  }
}

/** Parses JSON as Python writes it: with NaN, which a diverged or wrongly compiled model returns. */
function parsed(line) {
  return JSON.parse(line.replace(/\bNaN\b/g, '"NaN"'), (_, value) => (value === 'NaN' ? Number.NaN : value))
}
