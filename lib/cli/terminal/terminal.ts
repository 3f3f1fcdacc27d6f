/** Where a command reads and writes: the process's own streams, or a test's. */
import { closeSync, openSync } from 'node:fs'
import { isatty } from 'node:tty'
import { printable } from '../../common/printable.js'

export interface TerminalOutput {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface Terminal {
  stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean | undefined }
  stdout: TerminalOutput
  stderr: TerminalOutput
  environment: NodeJS.ProcessEnv
}

export function processTerminal(): Terminal {
  return { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, environment: process.env }
}

/** Whether an output shows colours: a terminal, and NO_COLOR (no-color.org) is not set. */
export function hasColours(output: TerminalOutput, environment: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb'
}

/** Writes what a model says: as it is for a file or a program, but it shall not steer a terminal. */
export function writeAnswer(output: TerminalOutput, text: string): void {
  output.write(output.isTTY === true ? printable(text) : text)
}

/** Outputs that a result is being written to: whoever writes it hears of errors. */
const awaited = new WeakSet<object>()

/**
 * Says what happens when an output takes no more. Standard error tells how work goes: where that can't be told any more (a pipe
 * that was closed, a full disk, a terminal that has gone), the work goes on untold. Standard output is what a command is for: a
 * reader that has gone (`mora inspect | head`) ends it quietly.
 */
export function survive({ stdout, stderr }: { stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream }): void {
  stderr.on('error', () => {})
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (awaited.has(stdout)) return
    if (error.code === 'EPIPE') process.exit(0)
    stderr.write(`mora: ${notWritten(error)}\n`)
    process.exit(1)
  })
}

/**
 * Lets go of terminals that have gone when the process ends. Node.js gives each terminal that it began with its settings back, and
 * aborts where that fails, whatever the exit code.
 */
export function releaseLostTerminals(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor))
  process.on('exit', () => {
    for (const descriptor of terminals.filter((descriptor) => !isatty(descriptor))) {
      closeSync(descriptor)
      openSync('/dev/null', 'r+') // takes the lowest number that is free
    }
  })
}

/** Writes to the end. Null, or a sentence that says why it could not be written. A reader that has gone wants no more. */
export async function writeResult(output: TerminalOutput, text: string): Promise<string | null> {
  if (!('writableEnded' in output)) {
    output.write(text)
    return null
  }
  const stream = output as NodeJS.WriteStream
  awaited.add(stream)
  const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
    stream.write(text, (failure) => resolve(failure ?? null))
  })
  return error === null || error.code === 'EPIPE' ? null : notWritten(error)
}

const notWritten = ({ code, message }: NodeJS.ErrnoException): string =>
  `Standard output could not be written (${code ?? message}); what a command saves is saved all the same.`
