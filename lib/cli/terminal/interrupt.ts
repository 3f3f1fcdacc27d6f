/** Ctrl-C, termination and a terminal that goes away while something worth saving is going on. */
import { isatty } from 'node:tty'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** How long a process whose work is done may take to end once it is told to. */
const MOST_MILLISECONDS = 1000

/** Whether the process is the command's own, and ends with it. */
let endsWithWork = false

/**
 * Says that the process ends when its work is done: a signal that comes meanwhile finds everything saved, and does not turn the
 * exit code into that of a process that was killed.
 */
export function endWithWork(): void {
  endsWithWork = true
}

/** What is left is printing, to somebody who may not read. */
function endSoon(): void {
  setTimeout(() => process.exit(130), MOST_MILLISECONDS).unref()
}

export interface OneOfMany {
  /** Is called when the process may be killed soon. */
  saveAtOnce(): void
}

/**
 * Runs `work`; the first signal calls `stop`, and a second one ends the process at once. Where the process has a terminal and that
 * goes away (SIGHUP), this stops it too, however often it is told; without one, as under nohup, it goes on: Node.js takes a signal
 * that its parent ignored for itself. Resolves with the work's value and whether it was stopped.
 *
 * A launcher of many may send a signal several times, and knows how to kill. Open MPI's mpirun, when it is told to end, sends
 * SIGCONT, SIGTERM a quarter of a second later and SIGKILL after another; SIGUSR2 it only passes on, which is how it is asked
 * to wait.
 */
export async function interruptible<Value>(
  work: () => Promise<Value>,
  stop: () => void,
  oneOfMany: OneOfMany | null = null,
): Promise<{ value: Value; interrupted: boolean }> {
  let interrupted = false
  const onSignal = () => {
    if (interrupted && oneOfMany) return
    if (interrupted) process.exit(130)
    interrupted = true
    oneOfMany?.saveAtOnce()
    stop()
  }
  const signals = oneOfMany ? [...SIGNALS, 'SIGUSR2' as const] : SIGNALS
  const onContinue = () => oneOfMany?.saveAtOnce()
  const onTerminal = [0, 2].some((descriptor) => isatty(descriptor))
  const onHangup = () => {
    if (!onTerminal || interrupted) return
    interrupted = true
    stop()
  }
  process.on('SIGHUP', onHangup)
  if (oneOfMany) process.on('SIGCONT', onContinue)
  for (const signal of signals) process.on(signal, onSignal)
  try {
    const value = await work()
    return { value, interrupted }
  } finally {
    process.off('SIGHUP', onHangup)
    process.off('SIGCONT', onContinue)
    for (const signal of signals) process.off(signal, onSignal)
    if (endsWithWork) for (const signal of ['SIGHUP', ...signals] as const) process.on(signal, endSoon)
  }
}
