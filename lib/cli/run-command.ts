/** Runs a command line: options, checks, work; prints one document or text, and failures as sentences with an exit code. */
import { MoraError } from '../common/errors.js'
import { foreignFailure } from '../common/foreign-errors.js'
import { speaking } from '../common/option-names.js'
import { asMessage, printable } from '../common/printable.js'
import { type CommonOptions, type OptionsSchema, requireOptions, resolveWithConfig } from '../options/index.js'
import type { AnyCommand, CommandResult } from './command.js'
import { fetchHubIds } from './hub-files.js'
import { tooManyOpenFiles } from './open-files.js'
import { parseArguments } from './parser.js'
import { type Terminal, writeResult } from './terminal/terminal.js'

type ExitCode = 0 | 1 | 2 | 130

/** Runs `mora` with these arguments (without node and script) and returns its exit code. Never throws. */
export function runCommandLine(
  argv: readonly string[],
  { commands, version, terminal }: { commands: readonly AnyCommand[]; version: string; terminal: Terminal },
): Promise<ExitCode> {
  return speaking('flags', async () => {
    let json = argv.some((argument) => /^--json(=|$)/.test(argument))
    try {
      const parsed = parseArguments(argv, commands, { version, columns: terminal.stdout.columns ?? 80 })
      if (parsed.kind === 'text') {
        const output = argv.length === 0 ? terminal.stderr : terminal.stdout
        output.write(parsed.text)
        return argv.length === 0 ? 2 : 0
      }
      const options = resolveWithConfig<OptionsSchema>(parsed.command.schema, parsed.given) as CommonOptions
      json = options.json
      return await runCommand(parsed.command, options, terminal)
    } catch (error) {
      return await report(error, json, terminal)
    }
  })
}

async function runCommand(command: AnyCommand, options: CommonOptions, terminal: Terminal): Promise<ExitCode> {
  requireOptions(command.schema, options, 'flags')
  command.check(options)
  const log = (line: string) => {
    if (!options.quiet) terminal.stderr.write(`${asMessage(line)}\n`)
  }
  const context = { terminal, log, note: (message: string) => log(`note: ${message}`) }
  const result = await command.run(await fetchHubIds(command.schema, options, terminal), context)
  const unwritten = await print(result, options.json, terminal)
  if (unwritten !== null) terminal.stderr.write(`mora: ${unwritten}\n`)
  return result.exitCode || (unwritten === null ? 0 : 1)
}

/** Prints a result; returns null, or why it could not be written. */
async function print({ json, text, isPrintable }: CommandResult, asJson: boolean, { stdout }: Terminal) {
  if (asJson) return json === undefined ? null : writeResult(stdout, documentOf(json))
  if (text === '') return null
  const shown = isPrintable ? text : printable(text)
  return writeResult(stdout, shown.endsWith('\n') ? shown : `${shown}\n`)
}

const documentOf = (json: unknown): string => `${printable(JSON.stringify(json))}\n`

/** Prints a failure: a sentence on stderr, with `json` also a document on stdout; a stack only if MORA_DEBUG is set. */
async function report(error: unknown, json: boolean, terminal: Terminal): Promise<ExitCode> {
  const { code, message, exitCode } = failureOf(error)
  terminal.stderr.write(`mora: ${message}\n`)
  if (terminal.environment.MORA_DEBUG && error instanceof Error)
    terminal.stderr.write(`${printable(error.stack ?? '')}\n`)
  if (json) await writeResult(terminal.stdout, documentOf({ error: { code, message } }))
  return exitCode
}

function failureOf(error: unknown): { code: string; message: string; exitCode: 1 | 2 } {
  if (error instanceof MoraError) return error
  const { code, message } = foreignFailure(error)
  return { code, message: tooManyOpenFiles(error) ?? asMessage(message), exitCode: 1 }
}
