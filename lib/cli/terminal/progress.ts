/** Progress of long work: one line that changes on a terminal, a plain line now and then elsewhere. */

import { formatBytes } from '../../common/bytes.js'
import { asMessage } from '../../common/printable.js'
import { formatCount, formatDuration, formatNumber } from './format.js'
import { Sparkline } from './sparkline.js'
import type { TerminalOutput } from './terminal.js'

/** Milliseconds between two plain lines. */
const PLAIN_INTERVAL = 10_000
/** Milliseconds between two updates of the live line. */
const LIVE_INTERVAL = 100

interface ProgressOptions {
  quiet?: boolean
  /** Returns the time in milliseconds; tests replace it. */
  now?: () => number
}

/** Writes to one output; nothing else may write to it while a live line is shown. */
export class Progress implements Disposable {
  readonly #output: TerminalOutput
  readonly #quiet: boolean
  readonly #now: () => number
  #lastShown = Number.NEGATIVE_INFINITY
  #pending: string | null = null
  #standing = false

  constructor(output: TerminalOutput, { quiet = false, now = Date.now }: ProgressOptions = {}) {
    this.#output = output
    this.#quiet = quiet
    this.#now = now
  }

  /** Shows how far the work is; `important` lines (the first, the last) are never skipped. */
  show(line: string, important = false): void {
    if (this.#quiet) return
    const interval = this.#output.isTTY ? LIVE_INTERVAL : PLAIN_INTERVAL
    if (!important && this.#now() - this.#lastShown < interval) {
      this.#pending = line
      return
    }
    this.#lastShown = this.#now()
    this.#pending = null
    this.#write(line)
  }

  /** Prints a permanent line. */
  note(line: string): void {
    if (this.#quiet) return
    this.#clear()
    this.#output.write(`${asMessage(line)}\n`)
  }

  /** Prints a warning of the library. */
  readonly warn = (message: string): void => this.note(`note: ${message}`)

  /** Leaves the live line in its place, with the latest state. */
  end(): void {
    if (this.#pending !== null && this.#output.isTTY) this.#write(this.#pending)
    this.#pending = null
    if (this.#standing) this.#output.write('\n')
    this.#standing = false
  }

  [Symbol.dispose](): void {
    this.end()
  }

  #write(text: string): void {
    const line = asMessage(text)
    if (!this.#output.isTTY) {
      this.#output.write(`${line}\n`)
      return
    }
    const width = (this.#output.columns || 80) - 1
    this.#output.write(`\r\u001b[K${line.slice(0, width)}`)
    this.#standing = true
  }

  #clear(): void {
    if (this.#standing) this.#output.write('\r\u001b[K')
    this.#standing = false
  }
}

/** Milliseconds of tokenising before a line shows the progress. */
const SHORT_WAIT = 1000

/** Returns a function that shows how many rows are tokenised. */
export function tokenisingLine(
  progress: Progress,
  now: () => number = Date.now,
): (figures: { rows: number; tokens: number; share?: number }) => void {
  const began = now()
  return ({ rows, tokens, share }) => {
    if (now() - began < SHORT_WAIT) return
    const parts = [`tokenised ${formatCount(rows)} ${rows === 1 ? 'row' : 'rows'}`, `${formatCount(tokens)} tokens`]
    if (share !== undefined) parts.push(`${Math.floor(100 * share)} %`)
    progress.show(parts.join('  '))
  }
}

/** The figures in a line of training. */
interface StepFigures {
  step: number
  totalSteps: number
  loss: number
  tokensPerSecond: number
  memoryBytes: number
  metrics?: Readonly<Record<string, number>>
}

/** Minimum and maximum number of cells of a sparkline beside a line. */
const SPARKLINE_CELLS = { least: 4, most: 24 }

/** Formats steps as lines with the remaining time, estimated from the steps seen here. */
export class StepLine {
  readonly #now: () => number
  readonly #figures = new Sparkline(SPARKLINE_CELLS.most)
  #first: { step: number; time: number } | null = null

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** @param columns width of the terminal; if there is space, a sparkline of the loss or reward follows the figures */
  format({ step, totalSteps, loss, tokensPerSecond, memoryBytes, metrics }: StepFigures, columns = 0): string {
    // Where answers are rewarded, the loss says little.
    const [name, figure] = metrics?.reward === undefined ? ['loss', loss] : ['reward', metrics.reward]
    this.#figures.add(figure)
    const parts = [
      `step ${step}/${totalSteps}`,
      `${name} ${formatNumber(figure)}`,
      `${formatCount(tokensPerSecond)} tokens/s`,
      formatBytes(memoryBytes),
    ]
    const left = this.#secondsLeft(step, totalSteps)
    if (left !== null) parts.push(`${formatDuration(left)} left`)
    const line = parts.join('  ')
    const room = columns - 1 - line.length - 2
    const sparkline = room < SPARKLINE_CELLS.least ? '' : this.#figures.draw(room)
    return sparkline === '' ? line : `${line}  ${sparkline}`
  }

  #secondsLeft(step: number, totalSteps: number): number | null {
    const time = this.#now()
    if (!this.#first) {
      this.#first = { step, time }
      return null
    }
    const done = step - this.#first.step
    return done > 0 ? ((time - this.#first.time) / 1000 / done) * (totalSteps - step) : null
  }
}
