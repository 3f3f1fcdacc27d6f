/** `mora` as a process of its own, and the runs that its tests train. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { words } from '../cli/words.js'
import { goldenPath } from '../golden/files.js'

export const main = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')
const model = goldenPath('tiny-untied/model')
const rows = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')

export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface Started {
  readonly pid: number
  readonly ended: Promise<Ending>
  kill(signal: NodeJS.Signals): void
  /** Resolves when stderr matches; rejects if the process ends before. */
  until(text: RegExp): Promise<void>
}

/** Runs `mora` with these arguments. */
export function start(argv: readonly string[], environment: Record<string, string> = {}): Started {
  const child = spawn(process.execPath, [main, ...argv], { env: { ...process.env, ...environment } })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const ended = new Promise<Ending>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr })),
  )
  const until = (text: RegExp) =>
    new Promise<void>((resolve, reject) => {
      const look = () => text.test(stderr) && resolve()
      child.stderr.on('data', look)
      ended.then(() => reject(new Error(`The process ended: ${stderr}`)))
      look()
    })
  return { pid: child.pid!, ended, until, kill: (signal) => void child.kill(signal) }
}

/** Arguments of a run that takes a second; `more` may override options. */
export const trainInto = (output: string, ...more: string[]): string[] => words`
  train --model ${model} --data ${rows} --output ${output} --rank 2 --dropout 0.1 --max-steps 8 --batch-size 4
  --threads 1 ${more}
`

export const mergeInto = (output: string, adapter: string, ...more: string[]): string[] => words`
  merge --model ${model} --adapter ${adapter} --output ${output} --threads 1 --quiet ${more}
`

export const exportInto = (output: string, adapter: string, format: string, ...more: string[]): string[] => words`
  export --model ${model} --adapter ${adapter} --output ${output} --format ${format} --threads 1 --quiet ${more}
`

/** Bytes of the file at a path, or of every file in the folder, by name; null if there is nothing. */
export function contentOf(path: string): Record<string, string> | null {
  if (!existsSync(path)) return null
  const bytes = (file: string) => readFileSync(file).toString('base64')
  if (statSync(path).isFile()) return { '': bytes(path) }
  const entries = readdirSync(path, { recursive: true, withFileTypes: true, encoding: 'utf8' })
  const names = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(names.sort().map((name) => [name.slice(path.length + 1), bytes(name)]))
}

/** The result of a run: the adapter or the model, and each step's metrics. */
export function resultOf(output: string): { adapter: object | null; model: object | null; steps: number[][] } {
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  const steps = lines.map((line) => JSON.parse(line) as { step: number; loss: number; gradNorm: number })
  return {
    adapter: contentOf(join(output, 'adapter_model.safetensors')),
    model: contentOf(join(output, 'model')),
    steps: steps.map(({ step, loss, gradNorm }) => [step, loss, gradNorm]),
  }
}

/** Files that are not part of a run: locks, and unfinished writes. */
export const hiddenIn = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => basename(name).startsWith('.'))

/**
 * The content of a run's folder by name, with its checkpoints and merged adapters, as far as it is the same in two equal runs.
 * Times, memory, folders and the step of the start are left out.
 */
export function everythingOf(output: string): Record<string, string> {
  const files = Object.entries(contentOf(output) ?? {}).filter(
    ([name]) => !/^tensorboard\/|(^|\/)\.|^checkpoints.*manifest/.test(name),
  )
  return Object.fromEntries(
    files.map(([name, content]) => {
      const bytes = Buffer.from(content, 'base64')
      if (/\.(jsonl|json|yaml|md)$/.test(name)) return [name, bytes.toString().replaceAll(ONES_OWN, '')]
      return [name, `${bytes.length} bytes, SHA-256 ${createHash('sha256').update(bytes).digest('hex')}`]
    }),
  )
}

const ONES_OWN = /,"(tokensPerSecond|memoryBytes|time)":[^,}]*|^ *"?(resume|output|resumedFromStep)"?: .*\n/gm
