/** `merges/merge-0001/`: what a run merged into the weights for good, one adapter folder each. */
import { cp, readdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { InputError } from '../../common/errors.js'
import { removeFolder, replaceFolder } from '../../io/atomic.js'
import type { ModelWithAdapters } from '../trainable.js'
import { whyTorn, writeManifest } from './checkpoint-files.js'

/** The folder of merges of the run that a checkpoint belongs to. */
export function mergesBeside(checkpoint: string): string {
  return join(dirname(dirname(checkpoint)), 'merges')
}

export function mergePath(merges: string, number: number): string {
  return join(merges, `merge-${String(number).padStart(4, '0')}`)
}

/** Writes an adapter before it is merged, as a whole or not at all. Numbers count from 1. */
export async function writeMerge(
  merges: string,
  number: number,
  save: (folder: string) => Promise<void>,
): Promise<void> {
  await replaceFolder(mergePath(merges, number), async (folder) => {
    await save(folder)
    await writeManifest(folder, number)
  })
}

/**
 * Merges again what a run had merged before, in order: on the same weights that gives the same bits.
 * @throws InputError when one is missing or not as it was written
 */
export async function repeatMerges(
  model: Pick<ModelWithAdapters, 'absorbAdapter'>,
  merges: string,
  count: number,
): Promise<void> {
  for (let number = 1; number <= count; number++) {
    const path = mergePath(merges, number)
    await requireMerge(path)
    await model.absorbAdapter(path)
  }
}

/** @throws InputError when what was merged is missing or not as it was written */
export async function requireMerge(path: string): Promise<void> {
  const problem = await whyTorn(path)
  if (problem === null) return
  throw new InputError('torn-checkpoint', `The run cannot go on without what it merged in ${path}: ${problem}.`)
}

/** Leaves the first `count` merges of a run in the folder of the one that goes on from it. */
export async function keepMerges(from: string, to: string, count: number): Promise<void> {
  if (resolve(from) !== resolve(to)) {
    for (let number = 1; number <= count; number++) {
      await replaceFolder(mergePath(to, number), (folder) => cp(mergePath(from, number), folder, { recursive: true }))
    }
  }
  for (const name of await readdir(to).catch(() => [])) {
    const number = /^merge-(\d+)$/.exec(name)?.[1]
    if (number === undefined || Number(number) > count) await removeFolder(join(to, name))
  }
}
