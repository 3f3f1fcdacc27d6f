/** Where a command reads and writes: the process's own streams, or a test's. */

export interface Output {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface Terminal {
  stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean | undefined }
  stdout: Output
  stderr: Output
  environment: NodeJS.ProcessEnv
}

export function processTerminal(): Terminal {
  return { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, environment: process.env }
}

/** Whether an output shows colours: a terminal, and NO_COLOR (no-color.org) is not set. */
export function hasColours(output: Output, environment: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb'
}

/** A reader that has gone (`mora inspect | head`) ends the process quietly: nobody is left to tell. */
export function endOnClosedPipe(outputs: readonly NodeJS.WriteStream[]): void {
  for (const output of outputs) {
    output.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0)
      throw error
    })
  }
}
