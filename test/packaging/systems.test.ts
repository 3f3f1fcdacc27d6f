/** The README's commands on bare systems, and the build under other compilers ("npm run check systems"). */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { lacksLinux, lacksLong, needing, skipFor } from '../needs.js'
import { root } from './project.js'

const systems = ['debian-12', 'gcc-12', 'gcc-14', 'clang-19']
const script = join(root, 'scripts', 'check-systems.mjs')

needing(lacksLong, lacksLinux).describe('node-mora', () => {
  it.for(systems)('is built and passes its tests on %s', { timeout: 7_200_000 }, (system, context) => {
    const { MORA_TEST_LONG, ...env } = process.env
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--only', system], {
      encoding: 'utf8',
      env,
    })
    if (status === 3) skipFor(`another system: ${stdout.trim()}`, context)
    expect(status, stdout + stderr).toBe(0)
  })
})

it('an unknown system is refused', () => {
  const { status, stderr } = spawnSync(process.execPath, [script, '--only', 'debian-1'], { encoding: 'utf8' })
  expect(stderr).toMatch(/^Expected some of debian-12, .* for --only but received debian-1\.$/m)
  expect(status).toBe(2)
})
