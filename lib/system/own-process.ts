/** Runs code in a child process, because it may harm the process that runs it. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'

/**
 * Runs a CommonJS script and waits for it, at most `patience` milliseconds, after which it is killed. `argument` is the last item
 * of its `process.argv`: Node.js and Bun put it first, Deno after a name for the code. Returns null if no process can be started.
 */
export function runApart(script: string, argument: string, patience = 30_000): SpawnSyncReturns<string> | null {
  // If Node.js is embedded in a program, the child would be the whole program again.
  if (process.env.MORA_PROBE) return null
  const ending = spawnSync(process.execPath, ['-e', script, argument], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: patience,
    killSignal: 'SIGKILL',
    windowsHide: true,
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1', MORA_PROBE: '1' },
  })
  return ending.pid ? ending : null
}
