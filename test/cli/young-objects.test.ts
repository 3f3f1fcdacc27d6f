/** The memory that Node.js uses for young objects. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect } from 'vitest'
import { packageFolder } from '../../lib/common/package-info.js'
import { lacksBuild, needing } from '../needs.js'

const command = join(packageFolder, 'dist/cli/main.js')

/** At its end, the process makes many live objects, and prints the size of the young generation [MiB]. */
const manyObjects = `
import v8 from 'node:v8'
process.on('exit', () => {
  const kept = Array.from({ length: 500_000 }, (_, i) => ({ i, list: [i] }))
  const space = v8.getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')
  process.stdout.write(JSON.stringify({ kept: kept.length, size: space.space_size / 2 ** 20 }))
})`

needing(lacksBuild).test('stays as it is at the start of a command', () => {
  const hook = `data:text/javascript,${encodeURIComponent(manyObjects)}`
  const { stdout } = spawnSync(process.execPath, ['--import', hook, command, '--version'], { encoding: 'utf8' })
  const { kept, size } = JSON.parse(stdout.slice(stdout.indexOf('{')))
  expect(kept).toBe(500_000)
  expect(size).toBeLessThan(8)
})
