/** The folder that a run is written to. */
import { existsSync, rmdirSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { removeFolder, writeFileAtomic } from '../../io/atomic.js'
import { removeLeftovers } from '../../io/leftovers.js'
import { isWithin } from '../../io/paths.js'
import type { RunFacts } from '../run-facts.js'
import { lockFolder } from './lock.js'

/** Names whose presence shows that a folder contains a run or its result. */
const RUN_NAMES = [
  'run.yaml',
  'metrics.jsonl',
  'samples.jsonl',
  'rollouts.jsonl',
  'checkpoints',
  'merges',
  'tensorboard',
  'adapter_config.json',
  'adapter_model.safetensors',
  'model',
  'ema',
  'kept.bin',
]

/** The end of a run, as `run.yaml` records it. */
interface RunResult {
  readonly steps: number
  /** Loss of the last step, and of the last evaluation. */
  readonly loss: number | null
  readonly evalLoss?: number | null
  readonly bestStep?: number
  readonly bestEvalLoss?: number
  /** The step whose values the folder holds. */
  readonly resultStep: number
  /** A sentence about values that the run did not train. */
  readonly problem?: string
}

export class OutputFolder {
  readonly checkpoints: string
  readonly merges: string
  readonly metrics: string
  readonly samples: string
  readonly rollouts: string
  readonly tensorboard: string
  readonly model: string
  /** A part of the rows that the objective keeps. */
  readonly kept: string
  /** The adapter with the averages of its values. */
  readonly averages: string

  /** The configuration of the run, as written. */
  #record: object = {}

  private constructor(
    readonly path: string,
    readonly lock: ReturnType<typeof lockFolder>,
  ) {
    this.checkpoints = join(path, 'checkpoints')
    this.merges = join(path, 'merges')
    this.metrics = join(path, 'metrics.jsonl')
    this.samples = join(path, 'samples.jsonl')
    this.rollouts = join(path, 'rollouts.jsonl')
    this.tensorboard = join(path, 'tensorboard')
    this.model = join(path, 'model')
    this.averages = join(path, 'ema')
    this.kept = join(path, 'kept.bin')
  }

  /**
   * Locks the folder, which is created if absent. Throws a `UsageError` if it is a file, if a run in it would overwrite one of
   * the `inputs` that it reads, if another process writes to it, or if it contains a run and neither `resume` nor `overwrite`
   * is given.
   */
  static async claim(
    path: string,
    { resume, overwrite, inputs = [] }: { resume: boolean; overwrite: boolean; inputs?: readonly string[] },
  ) {
    requireApart(path, inputs)
    const facts = await stat(path).catch(() => null)
    if (facts && !facts.isDirectory()) {
      throw new UsageError('not-a-folder', `Expected a folder for output, but ${path} is a file.`)
    }
    const folder = new OutputFolder(path, lockFolder(path))
    for (const place of [folder.path, folder.checkpoints, folder.merges]) await removeLeftovers(place)
    const found = RUN_NAMES.find((name) => existsSync(join(path, name)))
    if (found && !resume && !overwrite) {
      folder.close()
      throw new UsageError(
        'output-exists',
        `${path} already holds a run (${found}): continue it with ${theOption('resume')}, replace it with ${theOption('overwrite')}, or choose another output folder.`,
      )
    }
    return folder
  }

  /** Removes the files of an earlier run, and nothing else. */
  async clear(): Promise<void> {
    // First: checkpoints without the rest would be an incomplete run to resume.
    await removeFolder(this.checkpoints)
    for (const name of [...RUN_NAMES, 'README.md']) {
      await rm(join(this.path, name), { recursive: true, force: true })
    }
  }

  /** Writes `run.yaml`, the configuration of this run. */
  async writeRun(facts: RunFacts, resumedFrom: number | null): Promise<void> {
    this.#record = { ...facts, resumedFromStep: resumedFrom ?? undefined }
    await this.#writeRecord(this.#record)
  }

  /** Adds to `run.yaml` how the run ended. */
  async writeResult(result: RunResult): Promise<void> {
    await this.#writeRecord({ ...this.#record, result })
  }

  async #writeRecord(record: object): Promise<void> {
    await writeFileAtomic(join(this.path, 'run.yaml'), stringify(record, { lineWidth: 0 }))
  }

  async writeModelCard(text: string): Promise<void> {
    await writeFileAtomic(join(this.path, 'README.md'), text)
  }

  /** Unlocks the folder, and removes it if nothing was written to it. */
  close(): void {
    this.lock.release()
    try {
      rmdirSync(this.path)
    } catch {
      // it holds files
    }
  }
}

/** Throws if the files that a run in the folder writes, or removes at its start, overlap with files that it reads. */
function requireApart(path: string, inputs: readonly string[]): void {
  const written = RUN_NAMES.map((name) => join(path, name))
  const input = inputs.find(
    (input) => resolve(input) === resolve(path) || written.some((place) => isWithin(input, place)),
  )
  if (input === undefined) return
  throw new UsageError(
    'unfit-options',
    `A run in ${path} would overwrite ${input}, which it reads: choose another output folder.`,
  )
}
