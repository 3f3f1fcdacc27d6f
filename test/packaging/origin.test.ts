/** Packages name the repository and the page given to the packing script, and none otherwise. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { root } from './project.js'

const folder = useTemporaryFolder()
const [repository, homepage] = ['https://example.org/node-mora.git', 'https://example.org/']

needing(lacksBuild).test('the repository and the page of packages are given', () => {
  // A small program stands in for the addon, since its libraries do not matter here.
  const addon = join(folder(), 'mora.node')
  copyFileSync('/bin/sh', addon)
  const packed = (...more: string[]) => {
    const script = join(root, 'scripts', 'pack-platform.mjs')
    const into = ['--into', join(folder(), 'packages'), '--folders', '--as-built']
    const env = { ...process.env, MORA_BINARY: addon }
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...into, ...more], {
      encoding: 'utf8',
      env,
    })
    expect(status, stderr).toBe(0)
    return stdout
      .trim()
      .split('\n')
      .map((path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')))
  }
  const known = packed('--repository', repository, '--homepage', homepage)
  expect(known.map(({ name }) => name)).toContain('node-mora')
  for (const each of known) expect(each).toMatchObject({ repository: { type: 'git', url: repository }, homepage })
  for (const each of packed()) {
    expect(each).not.toHaveProperty('repository')
    expect(each).not.toHaveProperty('homepage')
  }
})
