/**
 * Each detector of the emulator fires on a planted fault and stays silent where there is none. The faults are committed
 * by programs of their own (test/simt/faults), since most of them end the process.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { drawn } from '../drawn.js'
import { needing } from '../needs.js'
import { lacksFibers, run } from './programs.js'

const sanitizers = ['none', 'address', 'thread'] as const
type Sanitizer = (typeof sanitizers)[number]

const build = fileURLToPath(new URL('../../build', import.meta.url))
const folder = join(build, 'sanitized', 'faults')
/** The emulator in the build of its CUDA backend (`npm run build emulated`), which builds for longer than all faults. */
const archive = join(build, 'cmake', 'Release', 'test', 'simt', 'libsimt_emulator.a')

/** Commits a fault in the build with that sanitizer. */
function commit(fault: string, sanitizer: Sanitizer = 'none', environment: Record<string, string> = {}) {
  return run(join(folder, `simt_faults_${sanitizer}`), [fault], environment)
}

async function expectStopped(fault: string, reason: RegExp, sanitizer: Sanitizer = 'none') {
  const { succeeds, text } = await commit(fault, sanitizer)
  expect(text).toMatch(reason)
  expect(succeeds).toBe(false)
}

needing(lacksFibers).describe('the CUDA emulator', () => {
  beforeAll(async () => {
    const source = fileURLToPath(new URL('faults', import.meta.url))
    const settings = ['-DCMAKE_BUILD_TYPE=Release', `-DSIMT_ARCHIVE=${existsSync(archive) ? archive : ''}`]
    const configured = await run('cmake', ['-S', source, '-B', folder, ...settings])
    expect(configured.succeeds, configured.text).toBe(true)
    const built = await run('cmake', [
      '--build',
      folder,
      '--parallel',
      '2',
      '--target',
      ...sanitizers.map((name) => `simt_faults_${name}`),
    ])
    expect(built.succeeds, built.text).toBe(true)
  })

  describe.each(sanitizers)('with sanitizer %s', (sanitizer) => {
    it.each(drawn(`seeds with sanitizer ${sanitizer}`, ['0', '1', '2', '3'], 1))(
      'runs what has no fault, seed %s',
      async (seed) => {
        const { succeeds, text } = await commit('clean', sanitizer, { MORA_SIMT_SEED: seed })
        expect(text).toBe(
          'sums are right\nrows are right\n0 of 128 copies are missing\ntotal is right\nmissed 0, early 0\n',
        )
        expect(succeeds).toBe(true)
      },
    )
  })

  it('tells where threads wait at a barrier that others left out', async () => {
    await expectStopped(
      'barrierLeftOut',
      /blockSums.*\n +threads 0 to 31 in __syncthreads at .*kernels\.h:\d+\n.*32 to 63 returned/,
    )
  })

  it('tells of two barriers in one block by their lines', async () => {
    const { succeeds, text } = await commit('barrierInTwoPlaces')
    const lines = new Set(Array.from(text.matchAll(/__syncthreads at .*kernels\.h:(\d+)/g), (match) => match[1]))
    expect(lines.size).toBe(2)
    expect(succeeds).toBe(false)
  })

  it('finds lanes of a warp with different masks', async () => {
    await expectStopped('shuffleOfHalfAWarp', /different masks\n(.*\n)*.*__shfl_xor_sync at .*kernels\.h:\d+/)
  })

  it('finds a removed barrier as a race', async () => {
    await expectStopped('barrierRemoved', /data race[\s\S]*kernels\.h:\d+/, 'thread')
  })

  it('finds a removed barrier in a loop as a race of one round with the next', async () => {
    await expectStopped('barrierRemovedInLoop', /data race[\s\S]*rotateRow.*kernels\.h:\d+/, 'thread')
  })

  it('finds a shuffle where lanes need a barrier', async () => {
    await expectStopped('shuffleForBarrier', /data race[\s\S]*swapNeighbours.*kernels\.h:\d+/, 'thread')
  })

  it('lets asynchronous copies arrive as late as they may', async () => {
    expect((await commit('copyNotAwaited')).text).toBe('128 of 128 copies are missing\n')
  })

  it('finds the line that uses a copy before it is waited for', async () => {
    await expectStopped('copyNotAwaited', /use-after-poison[\s\S]*copyRows.*kernels\.h:\d+/, 'address')
  })

  it.each(['copyWithoutBarrier', 'copyIntoUse'])('finds %s as a race', async (fault) => {
    await expectStopped(fault, /data race[\s\S]*copyRows.*kernels\.h:\d+/, 'thread')
  })

  it('finds the line of a misaligned copy', async () => {
    await expectStopped('copyMisaligned', /kernels\.h:\d+: misaligned address .* of a copy of 16 bytes \(.*copyRows/)
  })

  it('finds a copy from out of bounds where it starts', async () => {
    await expectStopped(
      'copyOutOfBounds',
      /AddressSanitizer[\s\S]*copyAsync16[\s\S]*copyRows.*kernels\.h:\d+/,
      'address',
    )
  })

  it('finds two blocks that write one element', async () => {
    await expectStopped('twoWriters', /data race[\s\S]*writeOnes/, 'thread')
  })

  it('finds a missing fence between blocks', async () => {
    await expectStopped('noFence', /data race[\s\S]*addBlocks/, 'thread')
  })

  it('finds one element read after the end', async () => {
    await expectStopped('justOutOfBounds', /AddressSanitizer[\s\S]*copyFrom.*kernels\.h:\d+/, 'address')
  })

  it('finds one element written after the end of shared memory', async () => {
    await expectStopped('sharedOutOfBounds', /AddressSanitizer[\s\S]*writeShared.*kernels\.h:\d+/, 'address')
  })

  it('finds what lies far out of bounds without a sanitizer', async () => {
    await expectStopped('farOutOfBounds', /copyFrom<float>.*touched device memory.*never allocated/)
  })

  it('finds misaligned vectors', async () => {
    await expectStopped('misaligned', /kernels\.h:\d+.*misaligned address.*float4.*16 byte/)
  })

  it.each(sanitizers.filter((name) => name !== 'thread'))(
    'keeps host code out of device memory, sanitizer %s',
    async (sanitizer) => {
      await expectStopped('hostAccess', /host code touched device memory .* allocation of 1536 bytes/, sanitizer)
    },
  )

  it('finds a kernel that reads freed memory', async () => {
    await expectStopped('freedMemory', /copyFrom<float>.*touched device memory.*freed/)
  })

  it('fills memory that nobody wrote to with NaN', async () => {
    expect((await commit('unwrittenMemory')).text).toBe('128 of 128 are not numbers\n')
  })

  it('shows a missing dependency between streams', async () => {
    const missed = Number(/^missed (\d+)$/m.exec((await commit('noDependency')).text)?.[1])
    expect(missed).toBeGreaterThan(0)
    expect(missed).toBeLessThan(100)
  })

  it('shows a host that does not wait for a copy', async () => {
    expect(Number(/^early (\d+)$/m.exec((await commit('noWait')).text)?.[1])).toBeGreaterThan(0)
  })

  it('refuses launches beyond the limits as CUDA does', async () => {
    const { text } = await commit('launchLimits')
    for (const line of [
      '1025 threads: cudaErrorInvalidConfiguration',
      'no blocks: cudaErrorInvalidConfiguration',
      '65536 blocks in y: cudaErrorInvalidConfiguration',
      '49153 shared bytes: cudaErrorInvalidValue',
      'opt-in to 232449 shared bytes refused: cudaErrorInvalidValue',
      '100000 shared bytes after opt-in: cudaSuccess',
    ])
      expect(text).toContain(`${line}\n`)
  })

  it('runs out of memory with an error and counts what is used', async () => {
    expect((await commit('outOfMemory')).text).toBe('too much: cudaErrorMemoryAllocation\nmemory is counted\n')
  })
})
