import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { main } from '../faults/command.js'
import { lack } from '../needs.js'

export const lacksTerminals = lack('script', spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0)

/**
 * Runs `mora` in a terminal that disappears at a given moment, which its shell passes on. Resolves with the exit code; for a
 * signal, 128 plus its number.
 */
export async function withLostTerminal(argv: readonly string[], moment: () => Promise<void>): Promise<number> {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-terminal-'))
  const [code, written] = [join(scratch, 'code'), join(scratch, 'written')]
  const quoted = [process.execPath, main, ...argv].map((each) => `'${each}'`).join(' ')
  const line = `trap 'kill -HUP $run' HUP
    ${quoted} & run=$!
    while wait $run; code=$?; kill -0 $run 2>/dev/null; do :; done
    echo $code >'${code}'; : >'${written}'`
  const terminal = spawn('script', ['-q', '-c', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] })
  terminal.stdout.resume()
  await moment()
  terminal.kill('SIGKILL') // its other end
  while (!existsSync(written)) await sleep(20)
  const found = Number(readFileSync(code, 'utf8'))
  rmSync(scratch, { recursive: true })
  return found
}
