/** Code that may harm the process that runs it, or change it for good, in a process of its own. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'

/**
 * Waits for a script of CommonJS; `argument` is the last of its `process.argv`, since Node.js and Bun put it first and Deno after a
 * name for the code. It is killed after `patience` milliseconds. Null where no process can be started.
 */
export function runApart(script: string, argument: string, patience = 30_000): SpawnSyncReturns<string> | null {
  // Where Node.js is part of a program, that process would be the whole program again.
  if (process.env.MORA_PROBE) return null
  const ending = spawnSync(process.execPath, ['-e', script, argument], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: patience,
    killSignal: 'SIGKILL',
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1', MORA_PROBE: '1' },
  })
  return ending.pid ? ending : null
}
