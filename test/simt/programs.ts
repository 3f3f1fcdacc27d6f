import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { lack, lacksLinux } from '../needs.js'

const boost = ['/usr/include', '/usr/local/include'].map((folder) => `${folder}/boost/context/detail/fcontext.hpp`)
/** What the emulator compiles with. */
export const lacksFibers = lacksLinux ?? lack('Boost.Context', boost.some(existsSync))

export interface ProgramResult {
  readonly succeeds: boolean
  /** What it wrote to standard output and standard error, in turn. */
  readonly text: string
}

/** Runs a program to its end. It may take minutes, so this process goes on meanwhile and vitest hears from it. */
export function run(
  command: string,
  commandArguments: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = spawn(command, commandArguments, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
      timeout: 1_800_000,
    })
    let text = ''
    for (const output of [child.stdout, child.stderr]) output.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', (error) => resolve({ succeeds: false, text: error.message }))
    child.on('close', (status) => resolve({ succeeds: status === 0, text }))
  })
}
