/** Ctrl-C and termination while something worth saving is going on. */

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * Runs `work`; the first signal calls `stop`, a second one ends the process at once. Resolves with the work's value and
 * whether a signal came.
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
  for (const signal of SIGNALS) process.on(signal, onSignal)
  try {
    const value = await work()
    return { value, interrupted }
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
}
