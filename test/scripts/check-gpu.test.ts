/** The GPU check and its pack, tried on the emulator and where there is no GPU. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
const emulated = existsSync(join(dirname(addon), 'mora_cuda_emulated.so'))
const folder = mkdtempSync(join(tmpdir(), 'mora-check-gpu-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Report {
  emulated: boolean
  parts: { name: string; status: string; summary: string }[]
}

const report = (): Report => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as Report

/** Every part by its name, with whether it passed; what the emulator does not have is skipped. */
const onTheEmulator = {
  tests: 'passed',
  kernels: 'skipped',
  training: 'passed',
  sanitizers: 'skipped',
  operations: 'passed',
  products: 'passed',
  step: 'passed',
}

const statuses = ({ parts }: Report) => Object.fromEntries(parts.map(({ name, status }) => [name, status]))

function check(extra: string[], environment: NodeJS.ProcessEnv) {
  return spawnSync(
    process.execPath,
    [join(root, 'scripts', 'check-gpu.mjs'), '--json', join(folder, 'report.json'), ...extra],
    {
      encoding: 'utf8',
      env: { ...process.env, MORA_CHECK_FOLDER: join(folder, 'check'), ...environment },
    },
  )
}

describe('npm run check:gpu', () => {
  test.skipIf(!emulated)('passes on the emulator, part by part', () => {
    const { status, stdout, stderr } = check(['--quick'], { MORA_CUDA: 'emulated' })
    expect(stderr, 'what failed').not.toMatch(/Error|TOO FAR/)
    expect(statuses(report())).toEqual(onTheEmulator)
    expect(report().emulated).toBe(true)
    expect(report().parts[0]!.summary).toMatch(/^[1-9]\d* passed, 0 failed, \d+ skipped$/)
    expect(stdout).toMatch(/^blocksForward, rotation/m)
    expect(status).toBe(0)
  })

  test('refuses a part that it does not have', () => {
    const { status, stderr } = check(['--only', 'tests,speed'], { MORA_CUDA: 'emulated' })
    expect(stderr).toContain('--only but received speed.')
    expect(status).toBe(2)
  })
})

describe.runIf(process.env.MORA_TEST_LONG && emulated)('npm run pack:gpu', () => {
  const run = (environment: NodeJS.ProcessEnv, ...extra: string[]) =>
    spawnSync('sh', [join(folder, 'mora-gpu-check', 'run.sh'), '--json', join(folder, 'report.json'), ...extra], {
      cwd: folder,
      encoding: 'utf8',
      // Nothing of this machine but the plainest tools.
      env: { PATH: '/usr/bin:/bin', ...environment },
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
    expect(packed.stdout).toMatch(/mora-gpu-check\.tar: \d+\.\d MiB; runs on glibc 2\.35 or newer/)
    expect(packed.status).toBe(0)
  })

  test('that says what is missing where there is no GPU', () => {
    const { status, stderr } = run({ CUDA_VISIBLE_DEVICES: '' })
    expect(stderr).toMatch(/^The GPU check cannot run here: .+\.$/m)
    expect(status).toBe(2)
  })

  test('that passes on the emulator', () => {
    const { status } = run({ MORA_CUDA: 'emulated' }, '--quick')
    expect(statuses(report())).toEqual(onTheEmulator)
    expect(status).toBe(0)
  })
})
