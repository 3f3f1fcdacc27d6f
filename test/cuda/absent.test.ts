/** Messages where no GPU can be used, and how to get one; the emulator imitates each of these machines. */
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { binaryCandidates } from '../../lib/native/binary.js'
import { lacksEmulation, needing } from '../needs.js'

/** The reason why CUDA cannot be used, in a process with these settings of the emulator. */
function whyOn(machine: Record<string, string>): string {
  const script = `
    const why = require(process.argv[1]).whyUnavailable("cuda")
    console.log(why && [why.problem, why.remedy].filter(Boolean).join("; "))`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script, binaryCandidates()[0]!], {
    env: { ...process.env, ...machine },
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return stdout.trim()
}

needing(lacksEmulation).describe('a machine', () => {
  test.each([
    [
      'without a driver',
      { MORA_SIMT_DRIVER: '0' },
      /^there is no NVIDIA driver, .*; install NVIDIA's driver for CUDA 13\.0 or newer$/,
    ],
    [
      'with an old driver',
      { MORA_SIMT_DRIVER: '12040' },
      /^the NVIDIA driver is too old: it serves CUDA 12\.4 and this build needs 13\.0; install NVIDIA's driver for CUDA 13\.0/,
    ],
    ['without a GPU', { MORA_SIMT_DEVICES: '0' }, /^no NVIDIA GPU was found, or CUDA_VISIBLE_DEVICES hides it$/],
    [
      'with GPUs that are too old',
      { MORA_SIMT_DEVICES: '2', MORA_SIMT_CAPABILITY: '75' },
      /^a GPU of compute capability 8\.0 .* is needed, and Emulated GPU 0 has 7\.5, Emulated GPU 1 has 7\.5$/,
    ],
    ['with what is needed', {}, /^null$/],
  ])('%s', (_, machine, sentence) => {
    expect(whyOn(machine)).toMatch(sentence)
  })

  test('that shares its memory with the GPU keeps a part of the free memory', () => {
    const script = 'console.log(require(process.argv[1]).openDevice("cuda", 0, 0).memory().limit / 2 ** 20)'
    const limit = (integrated: string) => {
      const env = { ...process.env, MORA_SIMT_MEMORY: String(1000 * 2 ** 20), MORA_SIMT_INTEGRATED: integrated }
      return Number(
        spawnSync(process.execPath, ['-e', script, binaryCandidates()[0]!], { env, encoding: 'utf8' }).stdout,
      )
    }
    expect(limit('0')).toBe(1000)
    expect(limit('1')).toBeCloseTo(800, 0)
  })
})
