/** The check on an emulated arm64 (scripts/check-arm64.mjs), which compiles the addon and takes long. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lacksLinux, lacksLong, lacksX64, needing, skipFor } from '../needs.js'
import { root } from './project.js'

const script = join(root, 'scripts', 'check-arm64.mjs')

describe('npm run check arm64', () => {
  needing(lacksLong, lacksLinux, lacksX64).it('passes, part by part', { timeout: 7_200_000 }, async (context) => {
    const check = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    check.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const [status] = await once(check, 'close')
    if (status === 2 && said.startsWith('skipped: '))
      skipFor(`what emulates arm64: ${said.trim().slice('skipped: '.length)}`, context)
    expect(said).toMatch(/^✓ build: .*\n✓ doctor: .*asimd.*\n✓ operations: [1-9]\d* passed, /)
    expect(said).toMatch(/^✓ training: [1-9]\d* passed, .*\n✓ package: .*node-mora-linux-arm64-/m)
    expect(said).not.toContain('✗')
    expect(status, said).toBe(0)
  })

  it('refuses a part that it does not have', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--only', 'doctor,speed'], {
      encoding: 'utf8',
    })
    expect(stderr).toMatch(/^Expected some of doctor, .*package for --only but received speed\.$/m)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  })
})
