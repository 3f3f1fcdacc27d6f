/** `merges/merge-0001/`: the adapters that a run merged into the weights permanently, one folder each. */

import { cp, readdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { InputError } from '../../common/errors.js'
import { removeFolder, replaceFolder } from '../../io/atomic.js'
import type { Model } from '../../models/model.js'
import { whyTorn, writeManifest } from './checkpoint-files.js'

/** Returns the folder of merges of the run that a checkpoint belongs to. */
export function mergesBeside(checkpoint: string): string {
  return join(dirname(dirname(checkpoint)), 'merges')
}

export function mergePath(merges: string, number: number): string {
  return join(merges, `merge-${String(number).padStart(4, '0')}`)
}

/** Writes an adapter before it is merged, completely or not at all. Numbers start at 1. */
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
 * Repeats the merges of an earlier run, in order: on the same weights the result is the same bits.
 * @throws InputError if one is missing or damaged
 */
export async function repeatMerges(model: Model, merges: string, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) {
    const path = mergePath(merges, number)
    await requireMerge(path)
    await model.absorbAdapter(path)
  }
}

/** @throws InputError if the merged adapter is missing or damaged */
export async function requireMerge(path: string): Promise<void> {
  const problem = await whyTorn(path)
  if (problem === null) return
  throw new InputError(
    'torn-checkpoint',
    `The run cannot continue without the adapter that it merged in ${path}: ${problem}.`,
  )
}

/** Copies the first `count` merges of a run to the folder of the run that continues it, and leaves no others there. */
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
