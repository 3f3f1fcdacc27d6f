/** Helpers of the checks of systems: timed steps whose output goes to a file. */
import { spawn } from 'node:child_process'
import { appendFileSync, createWriteStream, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
export const folder = join(root, 'build', 'systems')

/** Why a system cannot be tried here. */
export class Skipped extends Error {}

/** A step that failed. */
class Failed extends Error {}

/** The steps of one system. */
export class Steps {
  #done = []

  constructor(name) {
    this.name = name
    this.log = join(folder, `${name}.log`)
    mkdirSync(folder, { recursive: true })
    rmSync(this.log, { force: true })
  }

  /**
   * Runs a command, and returns its output.
   * @param {string} step
   * @param {string[]} command
   * @param {import('node:child_process').SpawnOptions} options
   */
  async run(step, [command, ...parameters], options = {}) {
    console.error(`${this.name}: ${step} (${this.log})`)
    appendFileSync(this.log, `\n== ${step}: ${command} ${parameters.join(' ')}\n`)
    const start = performance.now()
    const from = readFileSync(this.log).length
    const status = await new Promise((resolve) => {
      const child = spawn(command, parameters, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
      const file = createWriteStream(this.log, { flags: 'a' })
      child.stdout?.pipe(file, { end: false })
      child.stderr?.pipe(file, { end: false })
      const end = (result) => file.end(() => resolve(result))
      child.on('error', ({ message }) => end(message))
      child.on('close', (code, signal) => end(code ?? signal))
    })
    const minutes = ((performance.now() - start) / 60_000).toFixed(1)
    const output = readFileSync(this.log).subarray(from).toString()
    if (status !== 0) {
      console.error(output.split('\n').slice(-30).join('\n'))
      throw new Failed(`${step} ended with ${status} after ${minutes} minutes; ${this.log}`)
    }
    return { output, minutes }
  }

  /** Fails the system unless something holds. */
  require(holds, sentence) {
    if (!holds) throw new Failed(`${sentence}; ${this.log}`)
  }

  /** Adds to this system's line of the summary. */
  tell(text) {
    this.#done.push(text)
  }

  /** Runs all steps, and reports how they ended. */
  async outcome(work) {
    try {
      await work()
      return { result: 'passed', details: this.#done.join('; ') }
    } catch (error) {
      if (error instanceof Skipped) return { result: 'skipped', details: error.message }
      if (error instanceof Failed) return { result: 'failed', details: [...this.#done, error.message].join('; ') }
      throw error
    }
  }
}
