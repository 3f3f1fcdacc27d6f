/** Only its user ends a run: not a closed pipe, a full log or a terminal that disappears. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { main, trainInto } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLinux, needing } from '../needs.js'
import { lacksTerminals, withLostTerminal } from './lost-terminal.js'

const temporary = useTemporaryFolder()
const output = () => join(temporary(), 'out')
const trainArguments = (steps: number) => [main, ...trainInto(output(), '--max-steps', String(steps))]

const ended = (child: ChildProcess) =>
  new Promise<number | NodeJS.Signals | null>((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)))

const shell = (line: string, steps: number) =>
  spawnSync('bash', ['-c', line, 'bash', process.execPath, ...trainArguments(steps)], { encoding: 'utf8' })

const hasAdapter = () => existsSync(join(output(), 'adapter_model.safetensors'))

needing(lacksBuild, lacksLinux).describe('a run', () => {
  test('whose reader has gone trains to its end', () => {
    const { stdout } = shell('"$@" 2>&1 | head -n 1; echo "$PIPESTATUS"', 20)
    expect(stdout.trim().split('\n').at(-1)).toBe('0')
    expect(hasAdapter()).toBe(true)
  })

  test('that reads rows without an end from its standard input takes its steps', () => {
    const line = 'while echo \'{"input_ids": [1, 2, 3]}\'; do :; done 2>/dev/null | "$@" --data - --data-weight 3'
    const { status, stderr } = shell(line, 12)
    expect({ status, stderr }).toMatchObject({ status: 0 })
    expect(hasAdapter()).toBe(true)
  })

  test('whose log is on a full disk trains to its end', () => {
    const { status } = shell('"$@" 2>/dev/full', 10)
    expect(status).toBe(0)
    expect(hasAdapter()).toBe(true)
  })

  test('whose result cannot be written says so, and has saved', () => {
    const { status, stderr } = shell('"$@" >/dev/full', 5)
    expect(stderr).toMatch(/^mora: Standard output could not be written \(ENOSPC\)/m)
    expect(status).toBe(1)
    expect(hasAdapter()).toBe(true)
  })

  test('that is interrupted together with its reader saves its state and ends with 130', async () => {
    const line = '"$@" 2>&1 | cat; exit "$PIPESTATUS"'
    const child = spawn('bash', ['-c', line, 'bash', process.execPath, ...trainArguments(100_000)], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const end = ended(child)
    await new Promise((resolve) => child.stdout!.once('data', resolve))
    // As a terminal does: to the whole process group. The shell ignores the signal and waits.
    spawnSync('pkill', ['-INT', '-g', String(child.pid), 'cat'])
    spawnSync('pkill', ['-INT', '-g', String(child.pid), 'node'])
    expect(await end).toBe(130)
    expect(existsSync(join(output(), 'checkpoints'))).toBe(true)
  })

  test('without a terminal ignores a hangup', async () => {
    const log = openSync(join(temporary(), 'log'), 'w')
    const child = spawn(process.execPath, trainArguments(200), { stdio: ['ignore', log, log] })
    const end = ended(child)
    while (!existsSync(join(output(), 'metrics.jsonl'))) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGHUP')
    expect(await end).toBe(0)
    expect(hasAdapter()).toBe(true)
  })

  needing(lacksTerminals).test('whose terminal goes away saves its state and ends with 130', async () => {
    const isTraining = async () => {
      while (!existsSync(join(output(), 'metrics.jsonl'))) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(await withLostTerminal(trainArguments(100_000).slice(1), isTraining)).toBe(130)
    expect(existsSync(join(output(), '.lock'))).toBe(false)
    expect(readdirSync(join(output(), 'checkpoints'))).toHaveLength(1)
  })
})
