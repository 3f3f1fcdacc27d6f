/** The command line, run within this process on a terminal of a test. */
import { expect } from 'vitest'
import { commands } from '../../lib/cli/commands/index.js'
import { runCommandLine } from '../../lib/cli/run-command.js'
import { testTerminal } from './terminal.js'

export async function moraOn(options: Parameters<typeof testTerminal>[0], ...argv: string[]) {
  const terminal = testTerminal(options)
  const exitCode = await runCommandLine(argv, { commands, version: '0.0.0', terminal })
  return { exitCode, ...terminal.written }
}

export const mora = (...argv: string[]) => moraOn({}, ...argv)

/** Runs with --json and returns the document, which must be all of stdout. */
export async function moraJson(...argv: string[]) {
  const { exitCode, stdout, stderr } = await mora(...argv, '--json')
  expect(stdout.trim().split('\n'), stderr).toHaveLength(1)
  return { exitCode, json: JSON.parse(stdout), stderr }
}
