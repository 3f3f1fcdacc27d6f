/** Packages name the repository and the page given to the packing script; without these, none: test/packaging/install.test.ts. */
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
  const script = join(root, 'scripts', 'pack.mjs')
  const into = ['--into', join(folder(), 'packages'), '--folders', '--as-built']
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [script, ...into, '--repository', repository, '--homepage', homepage],
    { encoding: 'utf8', env: { ...process.env, MORA_BINARY: addon } },
  )
  expect(status, stderr).toBe(0)
  const paths = stdout.trim().split('\n')
  const packages = paths.map((path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')))
  expect(packages.map(({ name }) => name)).toContain('node-mora')
  for (const each of packages) expect(each).toMatchObject({ repository: { type: 'git', url: repository }, homepage })
})
