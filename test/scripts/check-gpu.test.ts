/**
 * The GPU check and its pack, on the emulator and on a machine without a GPU, in `npm run test:long`: the check compiles lib and its
 * tests first. `npm test` runs the same tests on the emulator itself.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { lacksEmulated, lacksLong, needing } from '../needs.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mora-check-gpu-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Report {
  emulated: boolean
  parts: { name: string; status: string; summary: string }[]
}

const report = (): Report => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as Report

/** Every part by name, and whether it passes; parts that the emulator does not support are skipped. */
const onTheEmulator: Record<string, string> = {
  tests: 'passed',
  kernels: 'skipped',
  hardware: 'passed',
  training: 'passed',
  operations: 'passed',
  products: 'passed',
  step: 'passed',
  pytorch: 'skipped',
  sanitizers: 'skipped',
}

const statuses = ({ parts }: Report) => Object.fromEntries(parts.map(({ name, status }) => [name, status]))

const summaryOf = (part: string) => report().parts.find(({ name }) => name === part)!.summary

/** Whether a test has passed by now. */
const hasATest = () =>
  existsSync(join(folder, 'report.json')) &&
  report().parts.some(({ name, summary }) => name === 'tests' && /^[1-9]\d* passed/.test(summary))

// Whatever this machine's Python has.
const why = 'this one has no PyTorch'
mkdirSync(join(folder, 'bin'))
writeFileSync(join(folder, 'bin', 'python3'), `#!/bin/sh\necho '${JSON.stringify({ why })}'\n`, { mode: 0o755 })

const toFile = ['--json', join(folder, 'report.json')]
/** The command first puts its files into a folder, where the check can be run again. */
const command = join(root, 'scripts', 'check-gpu.mjs')
const staged = join(folder, 'check', 'scripts', 'check-gpu', 'main.mjs')
const env = {
  ...process.env,
  MORA_BINARY: process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node'),
  MORA_CHECK_FOLDER: join(folder, 'check'),
  MORA_CUDA: 'emulated',
  PATH: `${folder}/bin:${process.env.PATH}`,
}

const check = (...extra: string[]) =>
  spawnSync(process.execPath, [staged, ...toFile, ...extra], { encoding: 'utf8', env })

needing(lacksLong).describe('npm run check gpu', () => {
  test('refuses an unknown part, and a budget without time', () => {
    const parts = spawnSync(process.execPath, [command, ...toFile, '--only', 'tests,speed'], { encoding: 'utf8', env })
    expect(parts.stderr).toContain('--only but received speed.')
    const minutes = check('--minutes', '0')
    expect(minutes.stderr).toContain('Expected a number above 0 for --minutes but received 0.')
    expect([parts.status, minutes.status]).toEqual([2, 2])
  })

  /** The summaries of passing parts, in the report and in the output. */
  const said: Record<string, (stdout: string) => void> = {
    tests: () => expect(summaryOf('tests')).toMatch(/^[1-9]\d* passed, 0 failed, \d+ skipped$/),
    hardware: () => expect(summaryOf('hardware')).toMatch(/^([1-9]\d*) of \1 passed, 0 skipped$/),
    pytorch: () => expect(summaryOf('pytorch')).toBe(why),
    operations: (stdout) => expect(stdout).toMatch(/^sectionsForward, rotation/m),
  }

  needing(lacksEmulated).test('passes on the emulator, part by part', { timeout: 600_000 }, () => {
    const { status, stdout, stderr } = check('--quick')
    expect(stderr, 'what failed').not.toMatch(/Error|TOO FAR/)
    expect(statuses(report())).toEqual(onTheEmulator)
    expect(report().emulated).toBe(true)
    for (const look of Object.values(said)) look(stdout)
    expect(status).toBe(0)
  })

  needing(lacksEmulated).test('says what it leaves out for lack of time, and that nothing was checked', () => {
    const { status, stdout, stderr } = check('--only', 'step,tests', '--minutes', '0.000001')
    expect(statuses(report())).toEqual({ tests: 'left out', step: 'left out' })
    expect(stdout).toContain('For lack of time left out: tests, step.')
    expect(stderr).toContain('Nothing was checked')
    expect(status).toBe(1)
  })

  needing(lacksEmulated).test('that is ended keeps what it has found so far', { timeout: 600_000 }, async () => {
    rmSync(join(folder, 'report.json'), { force: true })
    const child = spawn(process.execPath, [staged, ...toFile, '--quick', '--only', 'tests,step'], { env })
    const ended = new Promise((resolve) => child.on('close', resolve))
    while (child.exitCode === null && !hasATest()) await new Promise((resolve) => setTimeout(resolve, 100))
    child.kill('SIGTERM')
    await ended
    expect(statuses(report())).toEqual({ tests: 'cut short', step: 'left out' })
    expect(summaryOf('tests')).toMatch(/^[1-9]\d* passed, 0 failed/)
  })
})

needing(lacksLong, lacksEmulated).describe('npm run pack gpu', () => {
  const run = (environment: NodeJS.ProcessEnv, ...extra: string[]) =>
    spawnSync('sh', [join(folder, 'mora-gpu-check', 'run.sh'), '--json', join(folder, 'report.json'), ...extra], {
      cwd: folder,
      encoding: 'utf8',
      // Nothing of this machine but the plainest tools.
      env: { PATH: `${folder}/bin:/usr/bin:/bin`, ...environment },
    })

  test('makes a pack of at most 40 MiB', { timeout: 900_000 }, () => {
    const packed = spawnSync(
      process.execPath,
      [join(root, 'scripts', 'pack-gpu.mjs'), '--emulated', '--into', folder],
      {
        encoding: 'utf8',
      },
    )
    expect(packed.stderr).toBe('')
    expect(packed.stdout).toMatch(/mora-gpu-check\.tar: \d+\.\d MiB; runs on glibc 2\.34 or newer/)
    expect(packed.status).toBe(0)
  })

  test('that says what is missing if there is no GPU', () => {
    const { status, stderr } = run({ CUDA_VISIBLE_DEVICES: '' })
    expect(stderr).toMatch(/^The GPU check cannot run here: .+\.$/m)
    expect(status).toBe(2)
  })

  test('that passes on the emulator', { timeout: 600_000 }, () => {
    const { status } = run({ MORA_CUDA: 'emulated' }, '--quick')
    expect(statuses(report())).toEqual(onTheEmulator)
    expect(status).toBe(0)
  })
})
