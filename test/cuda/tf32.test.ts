/** float32 products of a GPU: in full float32 unless TF32 is enabled. */
import { afterEach, describe, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { initModel } from '../../lib/models/load-model.js'
import { native } from '../../lib/native/addon.js'
import { openDevice } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { batchOf } from '../golden/tiny-models.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'
import { lack, needing } from '../needs.js'
import { tinyLlama } from './tiny-llama.js'

const temporary = useTemporaryFolder()
const device = openDevice({ device: 'cuda' })
afterEach(() => device.setAllowTf32(false))

const emulated = process.env.MORA_CUDA === 'emulated'
const [small, large] = [128, emulated ? 128 : 1024]
/** TF32 keeps 10 bits of fraction: it rounds this to 1. */
const finer = 1 + 2 ** -12
/** cuBLAS may round if that is allowed, and does for large products; its stand-in always does. */
const allowedOfSmall = emulated ? [new Set([1])] : [new Set([1]), new Set([finer])]

interface Products {
  dtype?: 'float32' | 'bfloat16'
  batch?: number
  size?: number
}

/** The elements of a · I, or of a batch of it, where every element of a is `finer`: each occurs once. */
async function timesIdentity({ dtype = 'float32', batch = 1, size = large }: Products = {}): Promise<Set<number>> {
  const shape = [batch, size, size]
  const eye = Float32Array.from({ length: batch * size * size }, (_, i) =>
    (i % (size * size)) % (size + 1) === 0 ? 1 : 0,
  )
  const [a, b, c] = [
    Tensor.from(new Float32Array(eye.length).fill(finer), shape, { device, dtype }),
    Tensor.from(eye, shape, { device, dtype }),
    Tensor.zeros(shape, { device }),
  ]
  native.matmul({ a: a.native, b: b.native, c: c.native })
  const values = await c.data()
  for (const tensor of [a, b, c]) tensor.dispose()
  return new Set(Array.from(values, Number))
}

describe('float32 products', () => {
  test('are in full float32 at first', async () => {
    expect(await timesIdentity()).toEqual(new Set([finer]))
    expect(await timesIdentity({ batch: 3, size: small })).toEqual(new Set([finer]))
  })

  test('round their inputs to TF32 once that is allowed, and until it is not', async () => {
    openDevice({ device: 'cuda', allowTf32: true })
    expect(await timesIdentity()).toEqual(new Set([1]))
    expect(allowedOfSmall).toContainEqual(await timesIdentity({ batch: 3, size: small }))
    openDevice({ device: 'cuda' }) // says nothing of it
    expect(await timesIdentity()).toEqual(new Set([1]))
    openDevice({ device: 'cuda', allowTf32: false })
    expect(await timesIdentity()).toEqual(new Set([finer]))
  })

  test('alone are rounded: others stay what they were', async () => {
    const before = await timesIdentity({ dtype: 'bfloat16' })
    device.setAllowTf32(true)
    expect(await timesIdentity({ dtype: 'bfloat16' })).toEqual(before)
  })

  needing(lack('two GPUs', native.deviceCount('cuda') >= 2)).test(
    'of one device leave those of another alone',
    async () => {
      openDevice({ device: 'cuda:1', allowTf32: true })
      expect(await timesIdentity()).toEqual(new Set([finer]))
      openDevice({ device: 'cuda:1', allowTf32: false })
    },
  )

  test('of a model follow the option that it was loaded with', async () => {
    const path = fileOf(temporary(), 'config.json', JSON.stringify(tinyLlama))
    const lossWith = async (allowTf32: boolean): Promise<number> => {
      using model = await initModel(path, { device: 'cuda', dtype: 'float32', seed: 3, allowTf32 })
      model.addAdapter('a', mora({ rank: 2 }))
      const { loss, targetTokens } = model.loss(
        batchOf([{ input_ids: Array.from({ length: 20 }, (_, i) => (7 * i) % 50) }]),
      )
      const value = await loss.item()
      loss.dispose()
      return value / targetTokens
    }
    const [full, rounded] = [await lossWith(false), await lossWith(true)]
    if (emulated) expect(rounded).not.toBe(full) // a GPU may take full float32 for products so small
    // Losses near 4; inputs of every product rounded to 11 bits.
    expect(Math.abs(rounded - full)).toBeLessThan(1e-3)
    expect(await lossWith(false)).toBe(full)
  })
})

test('the CPU has no TF32: allowing it changes nothing', async () => {
  const cpu = openDevice({ device: 'cpu', allowTf32: true })
  const a = Tensor.from(Float32Array.of(finer), [1, 1], { device: cpu })
  const b = Tensor.from(Float32Array.of(1), [1, 1], { device: cpu })
  const c = Tensor.zeros([1, 1], { device: cpu })
  native.matmul({ a: a.native, b: b.native, c: c.native })
  expect(await c.item()).toBe(finer)
  for (const tensor of [a, b, c]) tensor.dispose()
})
