/** The folder that a run is written to. */
import { existsSync, rmdirSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { UsageError } from '../../common/errors.js'
import { removeFolder, writeFileAtomic } from '../../io/atomic.js'
import { removeLeftovers } from '../../io/leftovers.js'
import { isWithin } from '../../io/within.js'
import type { RunFacts } from '../checkpoints/run-facts.js'
import { type Lock, lockFolder } from './lock.js'

/** Names that say that a folder holds a run or its result. */
const RUN_NAMES = [
  'run.yaml',
  'metrics.jsonl',
  'samples.jsonl',
  'checkpoints',
  'merges',
  'tensorboard',
  'adapter_config.json',
  'adapter_model.safetensors',
  'model',
]

export class OutputFolder {
  readonly checkpoints: string
  readonly merges: string
  readonly metrics: string
  readonly samples: string
  readonly tensorboard: string
  readonly model: string

  private constructor(
    readonly path: string,
    readonly lock: Lock,
  ) {
    this.checkpoints = join(path, 'checkpoints')
    this.merges = join(path, 'merges')
    this.metrics = join(path, 'metrics.jsonl')
    this.samples = join(path, 'samples.jsonl')
    this.tensorboard = join(path, 'tensorboard')
    this.model = join(path, 'model')
  }

  /**
   * Locks the folder, which is made if absent. Throws a `UsageError` when it is a file, when a run in it would write over
   * one of the `inputs` that it reads, when another process writes to it, or when it holds a run and neither `resume` nor
   * `overwrite` is given.
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
        `${path} already holds a run (${found}): continue it with the option resume, replace it with the option overwrite, or choose another output folder.`,
      )
    }
    return folder
  }

  /** Removes what an earlier run left, and nothing else. */
  async clear(): Promise<void> {
    // They alone would be a run to go on with, which lacks the rest.
    await removeFolder(this.checkpoints)
    for (const name of [...RUN_NAMES, 'README.md']) {
      await rm(join(this.path, name), { recursive: true, force: true })
    }
  }

  /** `run.yaml`: what this run is made of. */
  async writeRun(facts: RunFacts, resumedFrom: number | null): Promise<void> {
    const record = { ...facts, resumedFromStep: resumedFrom ?? undefined }
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

/** What a run in the folder writes, or removes to begin anew, must be none of what it reads. */
function requireApart(path: string, inputs: readonly string[]): void {
  const written = RUN_NAMES.map((name) => join(path, name))
  const input = inputs.find(
    (input) => resolve(input) === resolve(path) || written.some((place) => isWithin(input, place)),
  )
  if (input === undefined) return
  throw new UsageError(
    'unfit-options',
    `A run in ${path} would write over ${input}, which it reads: choose another output folder.`,
  )
}
