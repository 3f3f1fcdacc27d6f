/** The summary of `npm test`, and how a run with more data is counted with one without (scripts/test/outcomes.mjs). */
import { spawnSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { closingLine, filesForData, outcomesOf, whatWasMissing, withAdded } from '../../scripts/test/outcomes.mjs'
import { useTemporaryFolder } from '../io/temporary.ts'

const root = join(import.meta.dirname, '..', '..')
const folder = useTemporaryFolder()
const golden = 'golden data of MORA_TEST_ASSETS'

const passed = (file, name) => ({ file, name, status: 'passed' })
const skipped = (file, name, needs) => ({
  file,
  name: needs ? `${name} [needs ${needs}]` : name,
  status: 'skipped',
  needs,
})

/** A run without data: of the family b in one file, and of a whole other file. */
const first = [
  passed('a.test.ts', 'gpt2 learns'),
  passed('a.test.ts', 'gpt2 learns'),
  skipped('a.test.ts', 'phi3', `${golden}: golden/families/phi3`),
  skipped('a.test.ts', 'gpt2 on another device', 'a CPU as the device'),
  skipped('b.test.ts', 'all templates', 'chat templates of MORA_TEST_ASSETS: templates'),
  skipped('c.test.ts', 'by srun', 'Slurm: slurmd needs root'),
  passed('c.test.ts', 'by hand'),
]

test('a report has the file, the name and the outcome of each test, and what skipped ones need', () => {
  const assertionResults = [
    { fullName: 'x learns', status: 'passed', meta: {} },
    { fullName: 'x forgets', status: 'failed', meta: {} },
    { fullName: 'y [needs gloo] sends', status: 'skipped', meta: {} },
    { fullName: 'z', status: 'pending', meta: { needs: 'bun: npm has none' } },
    { fullName: 'w', status: 'skipped', meta: {} },
  ]
  const testResults = [
    { name: '/root/test/x.test.ts', status: 'failed', assertionResults },
    { name: '/root/test/broken.test.ts', status: 'failed', assertionResults: [] },
  ]
  const outcomes = outcomesOf({ testResults }, '/root')
  expect(outcomes).toEqual([
    { file: 'test/x.test.ts', name: 'x learns', status: 'passed' },
    { file: 'test/x.test.ts', name: 'x forgets', status: 'failed' },
    { file: 'test/x.test.ts', name: 'y [needs gloo] sends', status: 'skipped', needs: 'gloo' },
    { file: 'test/x.test.ts', name: 'z', status: 'skipped', needs: 'bun: npm has none' },
    { file: 'test/x.test.ts', name: 'w', status: 'skipped', needs: undefined },
    { file: 'test/broken.test.ts', name: '', status: 'failed' },
  ])
  expect(closingLine(outcomes)).toBe('1 passed, 2 failed, 3 skipped')
  expect(whatWasMissing(outcomes)).toEqual([
    '3 skipped for want of something else: gloo 1, bun 1, what they do not say 1.',
  ])
})

test('what was skipped is summed up by what is missing, data apart', () => {
  expect(whatWasMissing([...first, skipped('d.test.ts', 'b', `${golden}: golden/b`)])).toEqual([
    '3 skipped for want of data, of which MORA_TEST_ASSETS names the folder: golden data 2, chat templates 1.',
    '2 skipped for want of something else: a CPU as the device 1, Slurm 1.',
  ])
  expect(whatWasMissing([passed('a.test.ts', 'a')])).toEqual([])
})

test('a second run has the files that lacked data, and adds what they did not run before', () => {
  expect(filesForData(first)).toEqual(['a.test.ts', 'b.test.ts'])
  const both = withAdded(first, [
    { file: 'a.test.ts', name: 'gpt2 learns', status: 'skipped' },
    { file: 'a.test.ts', name: 'gpt2 learns', status: 'skipped' },
    passed('a.test.ts', 'phi3 learns'),
    passed('a.test.ts', 'phi3 forgets'),
    skipped('a.test.ts', 'gpt2 on another device', 'a CPU as the device'),
    { file: 'b.test.ts', name: 'all templates', status: 'failed' },
  ])
  expect(closingLine(both)).toBe('5 passed, 1 failed, 2 skipped')
  expect(whatWasMissing(both)).toEqual(['2 skipped for want of something else: Slurm 1, a CPU as the device 1.'])
})

/** Runs `npm test`'s script. */
function run(assets, ...parameters) {
  const { MORA_TEST_OUTCOMES, VITEST, ...env } = process.env
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'test.mjs'), ...parameters], {
    encoding: 'utf8',
    env: { ...env, MORA_TEST_ASSETS: assets },
  })
  return { status, stderr, lines: stdout.trim().split('\n') }
}

test('a missing folder of data is refused in a sentence', () => {
  const absent = join(folder(), 'absent')
  expect(run(absent, 'test/needs.test.ts')).toEqual({
    status: 1,
    stderr: `Expected a folder in MORA_TEST_ASSETS but ${absent} is none.\n`,
    lines: ['0 passed, 1 failed, 0 skipped'],
  })
})

test('the last lines say what was missing and the counts, and a later run adds what new data allows', () => {
  const file = join(folder(), 'outcomes.json')
  const files = ['golden/quantised', 'text/real-model'].map((name) => `test/${name}.test.ts`)
  const alone = run('', '--keep', file, '--project', 'cpu*', ...files)
  expect(alone.status, alone.stderr).toBe(0)
  const [said, closing] = alone.lines.slice(-2)
  expect(said).toBe(
    '25 skipped for want of data, of which MORA_TEST_ASSETS names the folder: golden data 22, the model of 135 M 3.',
  )
  const [, passedAlone] = /^(\d+) passed, 0 failed, 25 skipped$/.exec(closing) ?? []
  // A set under another name: its values are read, and a model computes with it.
  cpSync(join(root, 'test/golden/quantised/bnb-fp4'), join(folder(), 'golden/quantised/bnb-nf4-skip'), {
    recursive: true,
  })
  const added = run(folder(), '--added-to', file, '--project', 'cpu*')
  expect(added.status, added.stderr).toBe(0)
  expect(added.lines.at(-1)).toBe(`${Number(passedAlone) + 2} passed, 0 failed, 24 skipped`)
})
