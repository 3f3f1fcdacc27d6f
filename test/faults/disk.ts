/** Runs the command on a disk that fails or while the process is killed: see disk.cpp. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { goldenPath } from '../golden/files.js'

const root = join(import.meta.dirname, '..', '..')
const main = join(root, 'dist', 'cli', 'main.js')
const compiler = ['c++', 'g++', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0)

/** Whether these tests can run: what they need is there wherever the addon was built. */
export const canFail = process.platform === 'linux' && compiler !== undefined && existsSync(main)

export interface Fault {
  kind: 'kill' | 'ENOSPC' | 'EIO' | 'EROFS'
  /** Which change of files below the folder is the first that fails, from 1. */
  at: number
}

export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
  /** How many changes there were; null of a process that was killed. */
  changes: number | null
}

/** A folder of its own whose changes are counted; `dispose` removes it. */
export class FailingDisk implements Disposable {
  readonly #scratch = mkdtempSync(join(tmpdir(), 'mora-disk-'))
  readonly folder = join(this.#scratch, 'disk')
  readonly #library = join(this.#scratch, 'disk.so')

  constructor() {
    const source = join(import.meta.dirname, 'disk.cpp')
    const options = ['-std=c++20', '-O1', '-shared', '-fPIC', source, '-o', this.#library, '-ldl']
    const { status, stderr } = spawnSync(compiler!, options, { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
  }

  at(name: string): string {
    return join(this.folder, name)
  }

  /** Runs `mora` with these arguments. */
  async run(argv: readonly string[], fault?: Fault): Promise<Ending> {
    const count = join(this.#scratch, 'count')
    rmSync(count, { force: true })
    const child = spawn(process.execPath, [main, ...argv], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...process.env,
        LD_PRELOAD: [process.env.LD_PRELOAD, this.#library].filter(Boolean).join(':'),
        UV_USE_IO_URING: '0',
        MORA_FAULT_FOLDER: this.folder,
        MORA_FAULT_COUNT: count,
        ...(fault && { MORA_FAULT: fault.kind, MORA_FAULT_AT: String(fault.at) }),
      },
    })
    let stderr = ''
    child.stderr.on('data', (text) => {
      stderr += text
    })
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
      child.on('close', (...ending) => resolve(ending)),
    )
    return { code, signal, stderr, changes: existsSync(count) ? Number(readFileSync(count, 'utf8')) : null }
  }

  [Symbol.dispose](): void {
    rmSync(this.#scratch, { recursive: true, force: true })
  }
}

const model = goldenPath('tiny-untied/model')!
const rows = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')!

/** Arguments of a run of a second. */
export const trainInto = (output: string, ...more: string[]): string[] => [
  ...['train', '--model', model, '--data', rows, '--output', output, '--rank', '2', '--dropout', '0.1'],
  ...['--max-steps', '8', '--batch-size', '4', '--threads', '1', '--save-every', '2', '--quiet', ...more],
]

export const mergeInto = (output: string, adapter: string, ...more: string[]): string[] => [
  ...['merge', '--model', model, '--adapter', adapter, '--output', output, '--threads', '1', '--quiet', ...more],
]

export const exportInto = (output: string, adapter: string, format: string, ...more: string[]): string[] => [
  ...['export', '--model', model, '--adapter', adapter, '--output', output, '--format', format],
  ...['--threads', '1', '--quiet', ...more],
]

/** Bytes of every file that a path is or holds, by its name; null where there is nothing. */
export function contentOf(path: string): Record<string, string> | null {
  if (!existsSync(path)) return null
  const bytes = (file: string) => readFileSync(file).toString('base64')
  if (statSync(path).isFile()) return { '': bytes(path) }
  const entries = readdirSync(path, { recursive: true, withFileTypes: true, encoding: 'utf8' })
  const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(names.sort().map((name) => [name.slice(path.length + 1), bytes(name)]))
}

/** What a run leads to: the adapter or the model, and what each step measured. */
export function resultOf(output: string): object {
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  const steps = lines.map((line) => JSON.parse(line) as { step: number; loss: number; gradNorm: number })
  return {
    adapter: contentOf(join(output, 'adapter_model.safetensors')),
    model: contentOf(join(output, 'model')),
    steps: steps.map(({ step, loss, gradNorm }) => [step, loss, gradNorm]),
  }
}
