/** Finds the adapter that a folder means. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { newestIntactCheckpoint } from '../train/index.js'

const ADAPTER = 'adapter_config.json'

/** Returns the newest adapter of a run's output folder, final or in a checkpoint; any other path as it is. */
export async function newestAdapter(path: string): Promise<string> {
  const checkpoints = join(path, 'checkpoints')
  if (!existsSync(checkpoints)) return path
  const newest = await newestIntactCheckpoint(checkpoints, () => {})
  if (newest === null) return path
  const changedAt = (folder: string) => statSync(join(folder, ADAPTER), { throwIfNoEntry: false })?.mtimeMs ?? 0
  return changedAt(newest) > changedAt(path) ? newest : path
}
