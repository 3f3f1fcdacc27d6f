/** A terminal for tests, which records what is written. */
import { Readable } from 'node:stream'
import type { Terminal } from '../../lib/cli/terminal/terminal.js'

export interface TestTerminal extends Terminal {
  written: { stdout: string; stderr: string }
}

/** `onWrite` is told of what is written on stdout. */
export function testTerminal({
  isTTY = false,
  columns = 80,
  environment = {},
  input = '',
  onWrite = (_text: string) => {},
} = {}): TestTerminal {
  const written = { stdout: '', stderr: '' }
  const output = (name: 'stdout' | 'stderr') => ({
    isTTY,
    columns,
    write: (text: string) => {
      written[name] += text
      if (name === 'stdout') onWrite(text)
    },
  })
  const stdin = Object.assign(Readable.from([input]), { isTTY })
  return { written, stdin, stdout: output('stdout'), stderr: output('stderr'), environment }
}
