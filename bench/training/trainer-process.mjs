import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** A process that takes a training step for each line that it is sent, and answers each with a line of JSON. */
export class TrainerProcess {
  #child
  #lines
  #errors = ''

  constructor(name, command, commandArguments, environment = {}) {
    this.name = name
    this.steps = []
    this.#child = spawn(command, commandArguments, {
      env: { ...process.env, ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child.stdin.on('error', () => {}) // the answer that does not come says more
    this.#child.stderr.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    this.ended = new Promise((resolve) => {
      this.#child.on('error', resolve)
      this.#child.on('close', resolve)
    })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** Resolves with what the process says of itself once it has loaded. */
  async ready() {
    this.facts = await this.#answer()
    return this.facts
  }

  /** One step; `{ loss, gradNorm, seconds, cpuSeconds }`. */
  async step() {
    this.#child.stdin.write('step\n')
    const values = await this.#answer()
    this.steps.push(values)
    return values
  }

  /** The most memory [bytes] that was resident at one time. */
  peakMemory() {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
    return Number(/VmHWM:\s*(\d+) kB/.exec(status)[1]) * 1024
  }

  async stop() {
    this.#child.stdin.end()
    await this.ended
  }

  async #answer() {
    const { value, done } = await this.#lines.next()
    if (!done) return JSON.parse(value)
    await this.ended
    throw new Error(`${this.name} ended early: ${this.#errors.trim() || 'without a message'}`)
  }
}
