/** The rows of a plan on disk: generated, found in the folder of `--data`, or on the hub. */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join, parse } from 'node:path'
import { readRows } from 'node-mora'

/** @typedef {{ data?: string, fetch: boolean, tiny: boolean, folder: string }} Place */

/** The sets that a plan reads. */
export const setsOf = ({ train, tasks }) => [train, ...tasks.flatMap(({ set, shots }) => [set, shots])].filter(Boolean)

/**
 * Returns the paths or hub ids of what a plan trains on, what each task asks and what each task shows as examples.
 * @param {ReturnType<typeof import('./plan.mjs').planOf>[number]} plan
 * @param {number} seed of the run
 * @param {Place} place
 */
export async function filesOf({ train, tasks }, seed, place) {
  /** @type {{ trained: string[], asked: string[][], shots: (string[] | undefined)[] }} */
  const files = { trained: await pathsOf(train, seed, place), asked: [], shots: [] }
  for (const task of tasks) {
    files.asked.push(task.set ? await pathsOf(task.set, seed, place) : files.trained)
    files.shots.push(task.shots && (await pathsOf(task.shots, seed, place)))
  }
  return files
}

/**
 * @param {import('../sets.mjs').Set} set
 * @param {number} seed
 * @param {Place} place
 * @returns {Promise<string[]>}
 */
async function pathsOf(set, seed, { data, tiny, folder }) {
  if ('rows' in set) return [await write(set, folder, set.rows(set.count, seed), `-${seed}`)]
  if (tiny)
    return [
      await write(
        set,
        folder,
        Array.from({ length: set.count ?? 0 }, (_, i) => set.sample(i + 1)),
      ),
    ]
  const given = data && (await readdir(data)).find((name) => parse(name).name === set.name)
  return given ? [join(data, given)] : [set.id].flat()
}

async function write({ name }, folder, rows, suffix = '') {
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${name}${suffix}.jsonl`)
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return path
}

/**
 * Returns the sets of a plan of which no first row can be read, with the reason; downloads them if `place.fetch`.
 * @param {Place} place
 */
export async function missingSets(plan, place, say) {
  const missing = new Map()
  for (const set of setsOf(plan)) {
    if ('rows' in set || place.tiny || missing.has(set)) continue
    if (place.fetch) say(`fetching ${set.name}`)
    try {
      for await (const _ of readRows(await pathsOf(set, 1, place), { offline: !place.fetch })) break
    } catch (error) {
      missing.set(set, error)
    }
  }
  return missing
}
