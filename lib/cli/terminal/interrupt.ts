/** Handles Ctrl-C, termination and a closed terminal while work is running whose state is worth saving. */
import { isatty } from 'node:tty'
import { ENDING_SIGNALS } from '../../system/signals.js'

/** Maximum time that a process whose work is done may take to end after a signal. */
const MOST_MILLISECONDS = 1000

/** Whether the process ends when the command's work is done. */
let endsWithWork = false

/**
 * Declares that the process ends when its work is done: for signals that arrive afterwards everything is saved, and they do not
 * change the exit code.
 */
export function endWithWork(): void {
  endsWithWork = true
}

/** Ends the process soon: only printing is left, perhaps without a reader. */
function endSoon(): void {
  setTimeout(() => process.exit(130), MOST_MILLISECONDS).unref()
}

/**
 * Runs `work`; the first signal calls `stop`, and a second one ends the process at once. If the process has a terminal and it
 * is closed (SIGHUP), that also calls `stop`, however often the signal arrives; without a terminal, as under nohup, work goes
 * on: Node.js handles SIGHUP even if its parent ignored it. Resolves to the work's value and whether it was stopped.
 *
 * A launcher of several processes may send a signal several times, and can kill them itself. Open MPI's mpirun, when it is
 * terminated, sends SIGCONT, SIGTERM a quarter of a second later and SIGKILL after another; it only forwards SIGUSR2, which is
 * how to ask it to wait.
 *
 * @param saveAtOnce for one of several processes: called when it may be killed soon
 */
export async function interruptible<Value>(
  work: () => Promise<Value>,
  stop: () => void,
  saveAtOnce: (() => void) | null = null,
): Promise<{ value: Value; interrupted: boolean }> {
  let interrupted = false
  const onSignal = () => {
    if (interrupted && saveAtOnce) return
    if (interrupted) process.exit(130)
    interrupted = true
    saveAtOnce?.()
    stop()
  }
  const signals = saveAtOnce ? [...ENDING_SIGNALS, 'SIGUSR2' as const] : ENDING_SIGNALS
  const onContinue = () => saveAtOnce?.()
  const onTerminal = [0, 2].some((descriptor) => isatty(descriptor))
  const onHangup = () => {
    if (!onTerminal || interrupted) return
    interrupted = true
    stop()
  }
  process.on('SIGHUP', onHangup)
  if (saveAtOnce) process.on('SIGCONT', onContinue)
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
