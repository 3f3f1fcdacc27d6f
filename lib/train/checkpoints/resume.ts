import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { InputError } from '../../common/errors.js'
import { type CheckpointRecord, newestIntactCheckpoint, readCheckpointRecord } from './checkpoint.js'
import { whyTorn } from './checkpoint-files.js'

export interface ResumePoint {
  path: string
  record: CheckpointRecord
}

/**
 * Returns the checkpoint to resume from: the newest intact one in a run's folder, or `folder` itself if it is a checkpoint.
 * Returns null, with a notice, if there is none.
 */
export async function findResumePoint(folder: string, notice: (message: string) => void): Promise<ResumePoint | null> {
  const path = isCheckpoint(folder)
    ? await requireIntact(folder)
    : await newestIntactCheckpoint(join(folder, 'checkpoints'), notice)
  if (path === null) {
    notice(`${folder} has no checkpoint to resume from: the run starts at step 0.`)
    return null
  }
  return { path, record: await readCheckpointRecord(path) }
}

/** Returns the folder of the run that a folder to resume from belongs to. */
export function runFolderOf(folder: string): string {
  return isCheckpoint(folder) ? dirname(dirname(folder)) : folder
}

function isCheckpoint(folder: string): boolean {
  return /^step-\d+$/.test(basename(folder))
}

async function requireIntact(path: string): Promise<string | null> {
  if (!(await stat(path).catch(() => null))) return null
  const problem = await whyTorn(path)
  if (problem === null) return path
  throw new InputError('torn-checkpoint', `The checkpoint ${path} cannot be resumed from: ${problem}.`)
}
