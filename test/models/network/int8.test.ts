/** Training passes whose products with frozen weights are made in 8 bits (`compute`). */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { dora } from '../../../lib/adapters/methods/dora.js'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { randomStream } from '../../../lib/common/random.js'
import { loadModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { batchOf, loadTiny, type Row } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { lack, needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { accumulated } from './sums.js'

const at = useTemporaryFolder()
const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const random = randomStream(4, 'test')
const rows: Row[] = [9, 2, 31, 14].map((length) => {
  const input_ids = Array.from({ length }, () => random.integer(300))
  return { input_ids, labels: input_ids }
})
const together = batchOf(rows)

function addAdapters(model: Model): void {
  model.addAdapter('rotation', mora({ rank: 3, operator: 'rotation' }))
  model.addAdapter('lora', lora({ rank: 2 }))
  model.addAdapter('dora', dora({ rank: 2, targetModules: ['q_proj'] }))
  const noise = randomStream(5, 'test')
  for (const { parameter } of model.trainableParameters()) {
    if (parameter.name.includes('magnitude')) continue
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.05 * noise.normal()))
  }
}

/** The sums' loss, and all gradients in one list. */
async function passOver(model: Model, batches = [together]) {
  const { loss, gradients } = await accumulated(model, batches)
  return { loss, gradients: [...gradients.values()].flatMap((values) => [...values]) }
}

const norm = (values: readonly number[]) => Math.hypot(...values)
/** The distance of two lists, relative to the second's norm. */
const distance = (got: readonly number[], wanted: readonly number[]) =>
  norm(got.map((value, i) => value - wanted[i]!)) / norm(wanted)

needing(lack('products in 8 bits', device.facts().int8Products)).describe('with compute int8', () => {
  test.each(['float32', 'bfloat16'] as const)('a pass in %s is near the one without, but not equal', async (dtype) => {
    using model = await loadTiny('tiny-untied', dtype)
    addAdapters(model)
    const exact = await passOver(model)
    model.compute = 'int8'
    const rounded = await passOver(model)
    expect(rounded.loss).not.toBe(exact.loss)
    expect(Math.abs(rounded.loss / exact.loss - 1)).toBeLessThan(2e-3)
    const apart = distance(rounded.gradients, exact.gradients)
    expect(apart).toBeGreaterThan(1e-3)
    expect(apart).toBeLessThan(0.1)
  })

  test('passes without gradients are unchanged', async () => {
    using model = await loadTiny('tiny-untied')
    addAdapters(model)
    const values = async () => {
      const { loss } = await model.lossAsync(together, { gradients: false })
      using held = loss
      return [await held.item(), ...(await model.tokenLogProbs(together))]
    }
    const before = await values()
    model.compute = 'int8'
    expect(await values()).toEqual(before)
  })

  test('packed rows equal rows one by one; recomputed activations and a second pass give the same bits', async () => {
    using model = await loadTiny('tiny-untied')
    addAdapters(model)
    model.compute = 'int8'
    const packed = await passOver(model)
    const apart = await passOver(
      model,
      rows.map((row) => batchOf([row])),
    )
    // Other orders of additions change single codes.
    expect(Math.abs(apart.loss / packed.loss - 1)).toBeLessThan(1e-4)
    expect(distance(apart.gradients, packed.gradients)).toBeLessThan(5e-3)
    expect(await passOver(model)).toEqual(packed)
    model.gradientCheckpointing = true
    expect(await passOver(model)).toEqual(packed)
  })

  test('weights that are trained are not rounded', async () => {
    using model = await loadTiny('tiny-untied')
    model.trainAll()
    const exact = await passOver(model)
    model.compute = 'int8'
    expect(await passOver(model)).toEqual(exact)
  })

  test('weights in blocks are rounded from their values', async () => {
    const path = join(at(), 'model.gguf')
    {
      using base = await loadTiny('tiny-untied')
      await base.save(path, { dtype: 'q8_0' })
    }
    const pass = async (quantised: boolean) => {
      using model = await loadModel(path, { device: 'cpu', threads: 2, dtype: 'float32', quantised })
      addAdapters(model)
      model.compute = 'int8'
      return await passOver(model)
    }
    const [blocks, values] = [await pass(true), await pass(false)]
    expect(Math.abs(blocks.loss / values.loss - 1)).toBeLessThan(1e-4)
    expect(distance(blocks.gradients, values.gradients)).toBeLessThan(5e-3)
  })
})

test('a processor whose sums of 8-bit products saturate is refused', () => {
  const script = `
    import { native } from './dist/native/addon.js'
    const device = native.openDevice('cpu', 0, 1)
    const matrix = () => native.fromArray(device, 'float32', [2, 2], new Float32Array(4))
    console.log(device.facts().int8Products)
    native.matmulInt8({ a: matrix(), b: matrix(), transposeB: true, c: matrix() })
    await device.synchronize()`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    env: { ...process.env, ONEDNN_MAX_CPU_ISA: 'AVX2' },
  })
  expect(stdout).toBe('false\n')
  expect(stderr).toContain('matmulInt8 without VNNI or AMX is not supported by the CPU backend')
})
