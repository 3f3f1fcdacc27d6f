/** Finds the folders below a folder that contain a run. */
import { basename, join } from 'node:path'
import { entriesInside } from '../io/inside.js'

export interface FoundRun {
  /** Path relative to the folder, with slashes; `.` for the folder itself. */
  id: string
  name: string
  /** Absolute. */
  folder: string
}

/** Limits of the search, in case the dashboard is started in a home folder. */
const LIMITS = { depth: 6, folders: 5_000, runs: 1_000 }

/** Subfolders of a run that contain no other run. */
const PARTS_OF_A_RUN = ['checkpoints', 'merges', 'model', 'tensorboard']

/**
 * Returns every folder with a run, by path. Does not follow links; skips hidden folders and node_modules.
 *
 * @param root its real path
 * @returns `complete` is false if the limits were reached before the end
 */
export async function findRuns(root: string): Promise<{ runs: FoundRun[]; complete: boolean }> {
  const runs: FoundRun[] = []
  let complete = true
  let folders: string[][] = [[]]
  let visited = 0
  for (let depth = 0; folders.length > 0; depth++) {
    const below: string[][] = []
    for (const path of folders) {
      if (visited === LIMITS.folders || runs.length === LIMITS.runs) return { runs: sorted(runs), complete: false }
      visited++
      const folder = join(root, ...path)
      const entries = await entriesInside(folder)
      const isRun = entries.some((entry) => entry.isFile() && ['metrics.jsonl', 'run.yaml'].includes(entry.name))
      if (isRun) runs.push({ id: path.join('/') || '.', name: path.join('/') || basename(root) || root, folder })
      for (const entry of entries) {
        const { name } = entry
        if (!entry.isDirectory() || name.startsWith('.') || name === 'node_modules') continue
        if (!isRun || !PARTS_OF_A_RUN.includes(name)) below.push([...path, name])
      }
    }
    if (depth === LIMITS.depth && below.length > 0) complete = false
    folders = depth === LIMITS.depth ? [] : below
  }
  return { runs: sorted(runs), complete }
}

function sorted(runs: FoundRun[]): FoundRun[] {
  return runs.sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }))
}
