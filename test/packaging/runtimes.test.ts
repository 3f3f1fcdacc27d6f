/** The installed package under Bun and Deno, which come from npm. Without them, these tests are skipped. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { packageVersion } from '../../lib/common/package-info.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { PREBUILT_ADDON } from '../../lib/native/prebuilt.js'
import { lacksLinux, lacksLong, needing, skipFor } from '../needs.js'
import { Project, pack, root, type Said } from './project.js'

const VERSIONS = { bun: '1.4.5', deno: '2.9.6' }
/** The permissions that docs/getting-started.md names. */
const PERMISSIONS = ['read', 'write', 'env', 'sys', 'ffi', 'run'].map((name) => `--allow-${name}`)
const RUNTIMES = [
  { name: 'bun', run: ['run'] },
  { name: 'deno', run: ['run', ...PERMISSIONS] },
  { name: 'deno', run: ['run', ...PERMISSIONS.filter((each) => each !== '--allow-run')] },
] as const

const script = `import { generate, loadModel, mora, train } from 'node-mora'
const model = await loadModel(${JSON.stringify(DEMO_MODEL)}, { device: 'cpu', threads: 1, dtype: 'float32' })
model.addAdapter('facts', mora({ rank: 2 }))
const data = ${JSON.stringify(join(root, 'examples', 'facts.jsonl'))}
const options = { data, maxSteps: 3, overwrite: true, output: 'out' }
for await (const event of train(model, options)) if (event.type === 'step') console.log(event.loss)
const { ids } = await generate(model, { prompt: 'Who', raw: true, maxNewTokens: 8 })
console.log(ids.join(' '))
`

/** Kept between runs: each is 100 MB. */
const cache = join(root, 'build', 'runtimes')

/** The program, or null if npm does not have it. */
function programOf(name: keyof typeof VERSIONS): string | null {
  const folder = join(cache, `${name}-${VERSIONS[name]}`)
  const program = join(folder, 'node_modules', '.bin', name)
  if (existsSync(program)) return program
  const from = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, `${name}@${VERSIONS[name]}`]
  const { status, stderr } = spawnSync('npm', from, { encoding: 'utf8', timeout: 300_000 })
  if (status === 0) return program
  console.warn(`${name} ${VERSIONS[name]} could not be installed: ${stderr}`)
  return null
}

needing(lacksLong, lacksLinux).describe('an addon of a package', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-runtimes-'))
  const project = new Project()
  const place = join(project.folder, 'node_modules', PREBUILT_ADDON)
  let path: string
  let expected: Said
  beforeAll(() => {
    project.install([pack(scratch)], project.bare)
    mkdirSync(place, { recursive: true })
    writeFileSync(
      join(place, 'package.json'),
      JSON.stringify({ name: PREBUILT_ADDON, version: packageVersion(), main: 'mora.node' }),
    )
    path = project.write('train.mjs', script)
    copyFileSync(binaryCandidates().find(existsSync)!, join(place, 'mora.node'))
    expected = project.run('node', [path])
  })
  afterAll(() => {
    project.remove()
    rmSync(scratch, { recursive: true, force: true })
  })

  it('trains and generates under Node.js', () => {
    expect(expected).toMatchObject({ status: 0, stderr: '' })
    expect(expected.stdout).toMatch(/^(\d+\.\d+\n){3}(\d+ ?)+\n$/)
  })

  it.for(RUNTIMES)('does the same, bit for bit, by $name $run', ({ name, run }, context) => {
    const program = programOf(name)
    if (program === null) return skipFor(`${name}: npm has none`, context)
    expect(project.run(program, [...run, path])).toEqual(expected)
  })

  it.for(['bun', 'deno'] as const)('is rejected by %s if it cannot be loaded, with the cause', (name, context) => {
    const program = programOf(name)
    if (program === null) return skipFor(`${name}: npm has none`, context)
    writeFileSync(join(place, 'crash.cjs'), 'process.exit(7)')
    writeFileSync(
      join(place, 'package.json'),
      JSON.stringify({ name: PREBUILT_ADDON, version: packageVersion(), main: 'crash.cjs' }),
    )
    const { status, stderr } = project.run(program, [...(name === 'deno' ? ['run', ...PERMISSIONS] : ['run']), path])
    expect(stderr).toContain(`${PREBUILT_ADDON} (a process that tried to load it ended with exit code 7)`)
    expect(status).not.toBe(0)
  })
})
