import { formatBytes } from '../../common/bytes.js'
import { formatDuration } from './format.js'
import type { Progress } from './progress.js'
import type { TerminalOutput } from './terminal.js'

const BAR = 20

interface Transfer {
  readonly repository: string
  readonly doneBytes: number
  readonly totalBytes: number
}

/** Formats the progress of a download or an upload, with its average speed and the remaining time. */
export class TransferLine {
  readonly #now: () => number
  readonly #bar: boolean
  #first: { bytes: number; time: number } | null = null

  /** @param bar whether to draw a bar, for a line that changes */
  constructor({ bar, now = Date.now }: { bar: boolean; now?: () => number }) {
    this.#bar = bar
    this.#now = now
  }

  format({ repository, doneBytes, totalBytes }: Transfer): string {
    const done = totalBytes === 0 ? 1 : doneBytes / totalBytes
    const bar = this.#bar ? `[${'#'.repeat(Math.floor(done * BAR)).padEnd(BAR, '.')}] ` : ''
    const parts = [
      `${repository}  ${bar}${Math.floor(done * 100)} %`,
      `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    ]
    const speed = this.#bytesPerSecond(doneBytes)
    if (speed !== null) {
      parts.push(`${formatBytes(speed)}/s`, `${formatDuration((totalBytes - doneBytes) / speed)} left`)
    }
    return parts.join('  ')
  }

  #bytesPerSecond(bytes: number): number | null {
    const time = this.#now()
    this.#first ??= { bytes, time }
    const gained = bytes - this.#first.bytes
    const seconds = (time - this.#first.time) / 1000
    return gained > 0 && seconds > 0 ? gained / seconds : null
  }
}

/** Returns a function that shows transfers; the first of each key starts a new line. */
export function transferPrinter(progress: Progress, { isTTY }: TerminalOutput) {
  const lines = new Map<string, TransferLine>()
  return (key: string, transfer: Transfer, before = ''): void => {
    const isFirst = !lines.has(key)
    const line = lines.get(key) ?? new TransferLine({ bar: isTTY === true })
    lines.set(key, line)
    progress.show(`${before}${line.format(transfer)}`, isFirst)
  }
}
