import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { modelFingerprint } from '../../../lib/train/setup/fingerprint.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const folder = useTemporaryFolder()
const large = 2 ** 30 + 2 ** 20

/** The fingerprint of a file of zeros with a hole for most of them, and one other byte. */
async function fingerprint(size: number, place: number): Promise<string> {
  const path = join(folder(), 'model.gguf')
  const file = openSync(path, 'w')
  ftruncateSync(file, size)
  writeSync(file, Uint8Array.of(1), 0, 1, place)
  closeSync(file)
  return modelFingerprint(path)
}

describe('the fingerprint of a model past 1 GiB', () => {
  it('follows its size, its first bytes and its last, and is taken from pieces', async () => {
    const between = await fingerprint(large, 2 ** 20)
    expect(await fingerprint(large, 2 ** 20 + 1)).toBe(between)
    const others = [
      ...[0, 2 ** 16 - 1, large - 1].map((place) => () => fingerprint(large, place)),
      () => fingerprint(large + 1, 2 ** 20),
    ]
    const found = [between]
    for (const other of others) found.push(await other())
    expect(new Set(found).size).toBe(found.length)
  })
})
