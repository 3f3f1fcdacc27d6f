/** Random blocks of every block format have the CPU's values on every device, bit for bit. */
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { type BlockDType, type NativeDevice, native } from '../../lib/native/addon.js'
import { testDevice } from './harness.js'

/** Values and bytes of a block. */
const formats: Partial<Record<BlockDType, readonly [values: number, bytes: number]>> = {
  q4_0: [32, 18],
  q4_1: [32, 20],
  q5_0: [32, 22],
  q5_1: [32, 24],
  q8_0: [32, 34],
  q2_k: [256, 84],
  q3_k: [256, 110],
  q4_k: [256, 144],
  q5_k: [256, 176],
  q6_k: [256, 210],
  iq4_nl: [32, 18],
  iq4_xs: [256, 136],
  mxfp4: [32, 17],
  tq1_0: [256, 54],
  tq2_0: [256, 66],
}
const count = 200

async function valuesOn(device: NativeDevice, format: BlockDType, columns: number, bytes: Uint8Array) {
  const blocks = native.fromArray(device, format, [count, columns], bytes)
  const values = native.empty(device, 'float32', [count, columns])
  native.dequantise(blocks, values)
  const read = (await values.read()) as Float32Array
  for (const tensor of [blocks, values]) tensor.dispose()
  return read
}

test.each(Object.entries(formats))('%s', async (format, [columns, size]) => {
  const random = randomStream(1, 'test', format)
  const bytes = Uint8Array.from({ length: count * size }, () => random.integer(256))
  // Scales of zero, and small ones: most bytes are below 4.
  bytes.fill(0, 0, size)
  for (let i = size; i < 20 * size; i++) bytes[i]! &= random.integer(8) === 0 ? 0x83 : 3
  const on = (device: NativeDevice) => valuesOn(device, format as BlockDType, columns, bytes)
  const [got, wanted] = [await on(testDevice()), await on(native.openDevice('cpu', 0, 1))]
  expect(got.findIndex((value, i) => !Object.is(value, wanted[i]))).toBe(-1)
})
