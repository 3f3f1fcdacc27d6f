/** The input and outputs of a command: the streams of the process, or of a test. */
import { closeSync, openSync } from 'node:fs'
import { devNull } from 'node:os'
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

/** Whether a person reads and writes. */
export function isInteractive({ stdin, stdout }: Terminal): boolean {
  return stdin.isTTY === true && stdout.isTTY === true
}

/** Whether an output shows colours: it is a terminal, and NO_COLOR (no-color.org) is not set. */
export function hasColours(output: TerminalOutput, environment: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb'
}

/** Writes a model's answer: unchanged to a file or a program, but without control sequences to a terminal. */
export function writeAnswer(output: TerminalOutput, text: string): void {
  output.write(output.isTTY === true ? printable(text) : text)
}

/** Outputs to which a result is being written; their writer handles errors. */
const awaited = new WeakSet<object>()

/**
 * Handles outputs that cannot be written. Standard error only shows progress: if it fails (a closed pipe, a full disk, a
 * closed terminal), the work goes on silently. Standard output is the purpose of a command: if its reader has gone, as with
 * `mora inspect | head`, the command ends quietly.
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
 * Releases closed terminals when the process ends. Node.js restores the settings of each terminal that it started with, and
 * aborts if that fails, whatever the exit code.
 */
export function releaseLostTerminals(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor))
  process.on('exit', () => {
    for (const descriptor of terminals.filter((descriptor) => !isatty(descriptor))) {
      closeSync(descriptor)
      openSync(devNull, 'r+') // takes the lowest free number
    }
  })
}

/** Writes all text. Returns null, or why it could not be written. A reader that has gone counts as success. */
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
  `Standard output could not be written (${code ?? message}); files that the command writes are saved all the same.`
