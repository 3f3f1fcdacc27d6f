/** One model on the stand-in, with a small file and a large one, and helpers of its tests. */
import { lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseHubId, Snapshot, type SnapshotOptions } from '../../lib/hub/index.js'
import { commitOf, sha256 } from './stand-in.js'
import { useStandIn } from './use-stand-in.js'

export const SMALL = Buffer.from('{"small": true}')
export const LARGE = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) % 251))
export const COMMIT = commitOf('first')
export const FOLDER = 'models--owner--name'
/** The path of the incomplete LARGE. */
export const PARTIAL = `blobs/${sha256(LARGE)}.node-mora.incomplete`

export function useOneModel() {
  const hub = useStandIn()

  const addModel = (
    commit = COMMIT,
    files: Record<string, Uint8Array> = { 'config.json': SMALL, 'deep/large.bin': LARGE },
  ) => hub().standIn.add({ kind: 'model', id: 'owner/name', commit, files, revisions: ['v1', 'refs/pr/1'] })

  const open = (text = 'owner/name', options: SnapshotOptions = {}) =>
    Snapshot.open('model', parseHubId(text)!, { ...hub().options, ...options })

  async function fetchAll(text?: string, options?: SnapshotOptions): Promise<Snapshot> {
    const snapshot = await open(text, options)
    await snapshot.fetch([...snapshot.files])
    return snapshot
  }

  /** The large file, as the cache has it. */
  const large = () => readFileSync(join(hub().cache, FOLDER, 'snapshots', COMMIT, 'deep/large.bin'))

  /** Everything in the repository's folder but folders. */
  const kept = () =>
    hub()
      .namesIn(FOLDER)
      .filter((name) => !lstatSync(join(hub().cache, FOLDER, name)).isDirectory())

  return { hub, addModel, open, fetchAll, large, kept }
}
