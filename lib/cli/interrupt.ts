/** Ctrl-C, termination and a terminal that goes away while something worth saving is going on. */
import { isatty } from 'node:tty'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * Runs `work`; the first signal calls `stop`, a second one ends the process at once. Where the process has a terminal and that
 * goes away (SIGHUP), this stops it too, however often it is told; without one, as under nohup, it goes on: Node.js takes a signal
 * that its parent ignored for itself. Resolves with the work's value and whether it was stopped.
 */
export async function interruptible<Value>(
  work: () => Promise<Value>,
  stop: () => void,
): Promise<{ value: Value; interrupted: boolean }> {
  let interrupted = false
  const onSignal = () => {
    if (interrupted) process.exit(130)
    interrupted = true
    stop()
  }
  const onTerminal = [0, 2].some((descriptor) => isatty(descriptor))
  const onHangup = () => {
    if (!onTerminal || interrupted) return
    interrupted = true
    stop()
  }
  process.on('SIGHUP', onHangup)
  for (const signal of SIGNALS) process.on(signal, onSignal)
  try {
    const value = await work()
    return { value, interrupted }
  } finally {
    process.off('SIGHUP', onHangup)
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
}
