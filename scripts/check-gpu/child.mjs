/** Runs each part in a process of its own, because after an error on a GPU a process cannot use it any more. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder with all files of the check. */
export const folder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Milliseconds between looks at a child's time and its result so far. */
const glanceMilliseconds = 500

/**
 * Runs a program to its end, or to that of the budget, when it and its own children are killed. Resolves with `{status,
 * ending, cut, stdout, stderr}`; its output is passed on instead unless `quiet`.
 * @param {string[]} command
 * @param {{ budget: import('./budget.mjs').Budget, environment?: Record<string, string>, quiet?: boolean, glance?: () => void }} how
 * @returns {Promise<{ status: number | null, ending: string, cut: boolean, stdout: string, stderr: string }>}
 */
export function runProgram(command, { budget, environment = {}, quiet = false, glance = () => {} }) {
  const [program, ...rest] = command
  return new Promise((resolve) => {
    const child = spawn(program, rest, {
      cwd: folder,
      stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
      env: { ...process.env, ...environment },
      detached: true, // a group of its own
    })
    const text = { stdout: '', stderr: '' }
    for (const name of quiet ? ['stdout', 'stderr'] : []) {
      child[name].setEncoding('utf8').on('data', (part) => {
        text[name] += part
      })
    }
    let cut = false
    const timer = setInterval(() => {
      glance()
      if (!budget.spent || child.exitCode !== null || child.signalCode !== null) return
      cut = true
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, glanceMilliseconds)
    const end = (status, ending) => {
      clearInterval(timer)
      resolve({ status, ending: cut ? 'its time was over' : ending, cut, ...text })
    }
    child.on('error', ({ message }) => end(null, message))
    child.on('close', (status, signal) => end(status, signal ? `ended by ${signal}` : `ended with ${status}`))
  })
}

/**
 * Runs a script that saves its findings as JSON at `--json FILE`, and calls `note` with them as they grow. Resolves with
 * `{status, ending, result}`: the status is that of a part, and the result is null if there was none.
 * @param {string} script
 * @param {string[]} extra
 * @param {{ budget: import('./budget.mjs').Budget, environment?: Record<string, string>, before?: string[], note?: (result: any) => void }} how
 */
export async function runScript(script, extra, { environment, before = [], budget, note = () => {} }) {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-gpu-'))
  const json = join(scratch, 'result.json')
  /** @type {string | null} */
  let last = null
  const glance = () => {
    const text = textOf(json)
    if (text === null || text === last) return
    last = text
    note(JSON.parse(text))
  }
  const command = [...before, process.execPath, join(folder, script), ...extra, '--json', json]
  const { status, ending, cut } = await runProgram(command, { budget, environment, glance })
  const text = textOf(json)
  rmSync(scratch, { recursive: true })
  const result = text === null ? null : JSON.parse(text)
  return { status: cut ? 'cut short' : status === 0 && result ? 'passed' : 'failed', ending, result }
}

function textOf(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
