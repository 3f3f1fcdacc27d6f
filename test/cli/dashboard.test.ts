import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { commands } from '../../lib/cli/commands/index.js'
import { runCommandLine } from '../../lib/cli/run-command.js'
import { writeRun } from '../dashboard/run-folders.js'
import { main } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { mora } from './mora.js'
import { testTerminal } from './terminal.js'

const folder = useTemporaryFolder()

/** Starts a dashboard, and returns what it printed and a way to end it as Ctrl-C does. */
async function start(...argv: string[]) {
  const terminal = testTerminal()
  const ended = runCommandLine(['dashboard', ...argv, '--port', '0'], { commands, version: '0.0.0', terminal })
  while (terminal.written.stdout === '') await new Promise((resolve) => setTimeout(resolve, 5))
  const end = () => {
    process.emit('SIGINT', 'SIGINT')
    return ended
  }
  return { written: terminal.written, end }
}

describe('mora dashboard', () => {
  it('prints where it is, answers there, and ends with Ctrl-C', async () => {
    writeRun(folder(), 'out')
    const { written, end } = await start(folder())
    const [, url] = /^The runs in .* are at (http:\/\/127\.0\.0\.1:\d+\/) until Ctrl-C\n$/.exec(written.stdout)!
    const { runs } = (await (await fetch(`${url}api/runs`)).json()) as { runs: { id: string }[] }
    expect(runs.map(({ id }) => id)).toEqual(['out'])
    expect(await end()).toBe(0)
    await expect(fetch(url!)).rejects.toThrow()
    expect(written.stderr).toBe('')
  })

  it('with --json prints one document, while it runs', async () => {
    const { written, end } = await start('--folder', folder(), '--json')
    const { url, port, ...more } = JSON.parse(written.stdout)
    expect({ url, more }).toEqual({ url: `http://127.0.0.1:${port}/`, more: { folder: folder() } })
    expect(await end()).toBe(0)
    expect(written.stdout.trim().split('\n')).toHaveLength(1)
  })

  it('says that others can look where they can', async () => {
    const { written, end } = await start(folder(), '--host', '0.0.0.0')
    expect(written.stderr).toBe('note: anyone who can reach 0.0.0.0 over the network can read these runs\n')
    await end()
  })

  it('ends with 2 for a folder that is none, two of them, and a port that is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const file = join(folder(), 'file')
    writeFileSync(file, '')
    const cases: [string[], string][] = [
      [['absent'], 'mora: --folder: there is no file or folder "absent".\n'],
      [[file], `mora: --folder: "${file}" is a file; expected a folder.\n`],
      [['a', 'b'], 'mora: Expected one DIR but received more: mora dashboard --help\n'],
      [['a', '--folder', 'b'], 'mora: Expected one DIR but received a and --folder b.\n'],
      [
        [folder(), '--port', '65536'],
        'mora: Expected a whole number of at least 0 up to 65535 for --port but received 65536.\n',
      ],
      [
        [folder(), '--port', String(port)],
        `mora: Port ${port} of 127.0.0.1 is taken by another program, perhaps another dashboard: choose another with --port, or 0 for any that is free.\n`,
      ],
    ]
    for (const [argv, stderr] of cases) {
      expect(await mora('dashboard', ...argv)).toEqual({ exitCode: 2, stdout: '', stderr })
    }
    other.close()
  })
})

needing(lacksBuild).describe('the process of a dashboard', () => {
  it('answers and ends beside files of any size, also while it reads one', async () => {
    for (const [name, bytes] of [
      ['large', 20e9],
      ['long', 2 ** 28],
    ] as const)
      truncateSync(join(writeRun(folder(), name), 'metrics.jsonl'), bytes) // sparse
    const child = spawn(process.execPath, [main, 'dashboard', folder(), '--port', '0', '--json'])
    const ended = once(child, 'close')
    const [started] = (await once(child.stdout, 'data')) as [Buffer]
    const { url } = JSON.parse(String(started)) as { url: string }
    const ask = async (path: string) => (await fetch(`${url}api/${path}`)).json() as Promise<Record<string, unknown>>
    const reading = ask('metrics?id=long').catch(() => 'was cut off')
    expect(await ask('runs')).toMatchObject({ runs: [{ id: 'large' }, { id: 'long' }] })
    expect(await ask('metrics?id=large')).toMatchObject({ steps: { rows: 0 } })
    expect(await ask('details?id=large')).toMatchObject({ problems: [expect.stringMatching(/^metrics\.jsonl has/)] })
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    await reading
  })
})

describe('mora report', () => {
  it('writes one file, into the folder if nothing else is said, and not over another', async () => {
    const run = writeRun(folder(), 'out')
    const output = join(run, 'report.html')
    const { exitCode, stdout } = await mora('report', run, '--json')
    expect(exitCode).toBe(0)
    const { bytes, ...more } = JSON.parse(stdout)
    expect(more).toEqual({ output, runs: 1 })
    expect(readFileSync(output)).toHaveLength(bytes)
    const again = await mora('report', run)
    expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is there already') })
    expect((await mora('report', run, '--overwrite')).stdout).toMatch(/^output .*\nruns +1\nsize +[\d.]+ KiB\n$/)
  })

  it('never writes over what it reads', async () => {
    const run = writeRun(folder(), 'out')
    const output = join(run, 'metrics.jsonl')
    const before = readFileSync(output, 'utf8')
    const refused = await mora('report', folder(), '--output', output, '--overwrite')
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('which is read meanwhile') })
    expect(readFileSync(output, 'utf8')).toBe(before)
  })

  it('ends with 2 where there is no run, and writes nothing', async () => {
    const output = join(folder(), 'report.html')
    expect(await mora('report', folder(), '--output', output)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('holds no run'),
    })
    expect(existsSync(output)).toBe(false)
  })
})
