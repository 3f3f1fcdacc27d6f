/** How many kernels and products a mixer launches on CUDA, counted by the emulator. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksEmulated, needing } from '../needs.js'

const root = join(import.meta.dirname, '..', '..')
const temporary = useTemporaryFolder()

interface Launched {
  kernels: number
  products: number
}

/** Launches of the second forward and backward pass of the first mixer of Qwen3.5-4B, in a process that computes nothing. */
function launchesWith(trained: string): Record<'forward' | 'backward', Launched> {
  const what = { checkpoint: 'Qwen/Qwen3.5-4B', block: 0, tokens: 512, trained }
  const env = {
    ...process.env,
    MORA_CUDA: 'emulated',
    MORA_SIMT_COMPUTE: '0',
    MORA_SIMT_PROTECT: '0',
    MORA_SIMT_MEMORY: String(2 ** 36),
    MORA_SIMT_TRACE: join(temporary(), `${trained}.jsonl`),
  }
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['bench/cuda-model/trace-mixer.mjs', JSON.stringify(what)],
    { cwd: root, env, encoding: 'utf8' },
  )
  expect(status, stderr).toBe(0)
  const { forward, backward } = JSON.parse(stdout) as Record<'forward' | 'backward', { kind: string }[]>
  const counted = (launches: { kind: string }[]) => {
    const kernels = launches.filter(({ kind }) => kind === 'kernel').length
    return { kernels, products: launches.length - kernels }
  }
  return { forward: counted(forward), backward: counted(backward) }
}

const total = ({ kernels, products }: Launched) => kernels + products

needing(lacksEmulated).test('a gated delta net launches at most 12 times forward and 24 times backward', () => {
  const { forward, backward } = launchesWith('nothing')
  expect(total(forward)).toBeLessThanOrEqual(12)
  expect(total(backward)).toBeLessThanOrEqual(24)
})

needing(lacksEmulated).test('LoRA beside a gated delta net launches only its products', () => {
  const [without, { forward, backward }] = [launchesWith('nothing'), launchesWith('adapters')]
  // Five linear layers: two products of each adapter forward, and four backward.
  expect(forward).toEqual({ kernels: without.forward.kernels, products: without.forward.products + 10 })
  expect(backward).toEqual({ kernels: without.backward.kernels, products: without.backward.products + 20 })
})

needing(lacksEmulated).test(
  'a gated delta net that is trained as a whole keeps its kernels within these numbers',
  () => {
    const { forward, backward } = launchesWith('all')
    expect(forward.kernels).toBeLessThanOrEqual(12)
    expect(backward.kernels).toBeLessThanOrEqual(24)
    expect([forward.products, backward.products]).toEqual([5, 10])
  },
)
