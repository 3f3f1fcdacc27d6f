/**
 * Each detector of the emulator fires on a planted fault and stays silent where there is none. The faults are committed
 * by programs of their own (test/simt/faults), since most of them end the process.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

type Sanitizer = 'none' | 'address' | 'thread'

const buildable =
  process.platform === 'linux' &&
  ['/usr/include', '/usr/local/include'].some((folder) => existsSync(`${folder}/boost/context/detail/fcontext.hpp`))
const folder = mkdtempSync(join(tmpdir(), 'mora-simt-'))

function run(command: string, commandArguments: string[], environment: Record<string, string> = {}) {
  const result = spawnSync(command, commandArguments, {
    encoding: 'utf8',
    timeout: 110_000,
    env: { ...process.env, ...environment },
  })
  return { succeeds: result.status === 0, text: result.stdout + result.stderr }
}

/** Commits a fault in the build with that sanitizer. */
function commit(fault: string, sanitizer: Sanitizer = 'none', environment: Record<string, string> = {}) {
  return run(join(folder, `simt_faults_${sanitizer}`), [fault], environment)
}

function expectStopped(fault: string, reason: RegExp, sanitizer: Sanitizer = 'none') {
  const { succeeds, text } = commit(fault, sanitizer)
  expect(text).toMatch(reason)
  expect(succeeds).toBe(false)
}

describe.skipIf(!buildable)('the CUDA emulator', () => {
  beforeAll(() => {
    const source = fileURLToPath(new URL('faults', import.meta.url))
    const configured = run('cmake', ['-S', source, '-B', folder, '-DCMAKE_BUILD_TYPE=Release'])
    expect(configured.succeeds, configured.text).toBe(true)
    const built = run('cmake', ['--build', folder, '--parallel', '2'])
    expect(built.succeeds, built.text).toBe(true)
  })

  describe.each<Sanitizer>(['none', 'address', 'thread'])('with sanitizer %s', (sanitizer) => {
    it.each(['0', '1', '2', '3'])('runs what has no fault, seed %s', (seed) => {
      const { succeeds, text } = commit('clean', sanitizer, { MORA_SIMT_SEED: seed })
      expect(text).toBe('sums are right\ntotal is right\nmissed 0, early 0\n')
      expect(succeeds).toBe(true)
    })
  })

  it('tells where threads wait at a barrier that others left out', () => {
    expectStopped(
      'barrierLeftOut',
      /blockSums.*\n +threads 0 to 31 in __syncthreads at .*kernels\.h:\d+\n.*32 to 63 returned/,
    )
  })

  it('tells of two barriers in one block by their lines', () => {
    const { succeeds, text } = commit('barrierInTwoPlaces')
    const lines = new Set(Array.from(text.matchAll(/__syncthreads at .*kernels\.h:(\d+)/g), (match) => match[1]))
    expect(lines.size).toBe(2)
    expect(succeeds).toBe(false)
  })

  it('finds lanes of a warp with different masks', () => {
    expectStopped('shuffleOfHalfAWarp', /different masks\n(.*\n)*.*__shfl_xor_sync at .*kernels\.h:\d+/)
  })

  it('finds a removed barrier as a race', () => {
    expectStopped('barrierRemoved', /data race[\s\S]*kernels\.h:\d+/, 'thread')
  })

  it('finds two blocks that write one element', () => {
    expectStopped('twoWriters', /data race[\s\S]*writeOnes/, 'thread')
  })

  it('finds a missing fence between blocks', () => {
    expectStopped('noFence', /data race[\s\S]*addBlocks/, 'thread')
  })

  it('finds one element read after the end', () => {
    expectStopped('justOutOfBounds', /AddressSanitizer[\s\S]*copyFrom.*kernels\.h:\d+/, 'address')
  })

  it('finds one element written after the end of shared memory', () => {
    expectStopped('sharedOutOfBounds', /AddressSanitizer[\s\S]*writeShared.*kernels\.h:\d+/, 'address')
  })

  it('finds what lies far out of bounds without a sanitizer', () => {
    expectStopped('farOutOfBounds', /copyFrom<float>.*touched device memory.*never allocated/)
  })

  it('finds misaligned vectors', () => {
    expectStopped('misaligned', /kernels\.h:\d+.*misaligned address.*float4.*16 byte/)
  })

  it.each<Sanitizer>(['none', 'address'])('keeps host code out of device memory, sanitizer %s', (sanitizer) => {
    expectStopped('hostAccess', /host code touched device memory .* allocation of 1536 bytes/, sanitizer)
  })

  it('finds a kernel that reads freed memory', () => {
    expectStopped('freedMemory', /copyFrom<float>.*touched device memory.*freed/)
  })

  it('fills memory that nobody wrote to with NaN', () => {
    expect(commit('unwrittenMemory').text).toBe('128 of 128 are not numbers\n')
  })

  it('shows a missing dependency between streams', () => {
    const missed = Number(/^missed (\d+)$/m.exec(commit('noDependency').text)?.[1])
    expect(missed).toBeGreaterThan(0)
    expect(missed).toBeLessThan(100)
  })

  it('shows a host that does not wait for a copy', () => {
    expect(Number(/^early (\d+)$/m.exec(commit('noWait').text)?.[1])).toBeGreaterThan(0)
  })

  it('refuses launches beyond the limits as CUDA does', () => {
    const { text } = commit('launchLimits')
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

  it('runs out of memory with an error and counts what is used', () => {
    expect(commit('outOfMemory').text).toBe('too much: cudaErrorMemoryAllocation\nmemory is counted\n')
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))
})
