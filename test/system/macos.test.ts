/** What macOS's programs say. Their output is written after their manuals: no Mac was at hand. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { cpuFlagsBySysctl, freeMemoryByVmStat, startOfProcessByPs } from '../../lib/system/macos.js'
import { lack, needing } from '../needs.js'

const lacksPs = lack('ps', spawnSync('ps', ['-p', '1']).status === 0)
needing(lacksPs).test('a process has one start, which another process of the same number has not', async () => {
  const own = startOfProcessByPs(process.pid)
  expect(own).toMatch(/^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/)
  expect(startOfProcessByPs(process.pid)).toBe(own)
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'close')
  expect(startOfProcessByPs(child.pid!)).toBeNull()
})

test('free memory is that of free, speculative and inactive pages', () => {
  const text = `Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                            3000.
Pages speculative:                          400.
Pages throttled:                              0.
`
  expect(freeMemoryByVmStat(text)).toBe(13_400 * 16_384)
  expect(freeMemoryByVmStat('')).toBeNull()
})

test("extensions of a processor have Linux's names", () => {
  const apple = `hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 0
hw.optional.arm.FEAT_I8MM: 1
hw.optional.AdvSIMD: 1
machdep.cpu.brand_string: Apple M1
`
  expect(cpuFlagsBySysctl(apple).sort()).toEqual(['asimd', 'asimddp', 'i8mm'])
  const intel = `machdep.cpu.features: FPU SSE3 FMA SSE4.2 AVX1.0 F16C
machdep.cpu.leaf7_features: BMI1 AVX2
hw.optional.avx2_0: 1
`
  expect(cpuFlagsBySysctl(intel)).toEqual(['fpu', 'sse3', 'fma', 'sse4_2', 'avx', 'f16c', 'bmi1', 'avx2'])
  expect(cpuFlagsBySysctl('')).toEqual([])
})
