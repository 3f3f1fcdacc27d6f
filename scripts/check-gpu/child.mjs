/** Each part runs in a process of its own: an error on a GPU ends the use of it by that process. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder with everything the check needs. */
export const folder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Runs a script that writes JSON to `--json FILE`: `{passed, result}`, result being null where it wrote none. */
export function runScript(script, extra, { environment = {}, before = [], minutes = 30 } = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-gpu-'))
  const json = join(scratch, 'result.json')
  const [program, ...rest] = [...before, process.execPath, join(folder, script), ...extra, '--json', json]
  const { status, signal } = spawnSync(program, rest, {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
    timeout: minutes * 60_000,
  })
  const result = existsSync(json) ? JSON.parse(readFileSync(json, 'utf8')) : null
  rmSync(scratch, { recursive: true })
  const ending = status === null ? `ended by ${signal} (the limit is ${minutes} minutes)` : `ended with ${status}`
  return { passed: status === 0 && result !== null, result, ending }
}
