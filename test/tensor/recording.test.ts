/** Operations that are recorded once and enqueued again. */
import { afterAll, expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const before = liveBytes(device)

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(before))

test('a replay reads the current inputs, and writes the same outputs', async () => {
  using input = Tensor.from([1, 2, 3], [3], { device })
  using output = Tensor.zeros([3], { device })
  const recording = native.record(() => {
    using between = Tensor.empty([3], { device })
    native.copy(input.native, between.native, 2)
    native.add(between.native, output.native, 1)
  })
  expect(await output.data()).toEqual(Float32Array.of(2, 4, 6))
  // A new allocation must not reuse intermediate memory.
  using other = Tensor.from([7, 7, 7], [3], { device })
  native.fill(input.native, 10)
  recording.replay()
  recording.replay()
  expect(await output.data()).toEqual(Float32Array.of(42, 44, 46))
  expect(await other.data()).toEqual(Float32Array.of(7, 7, 7))
  recording.dispose()
  recording.replay()
  expect(await output.data()).toEqual(Float32Array.of(42, 44, 46))
})

test('tensors live as long as a recording that uses them', async () => {
  const input = Tensor.from([1, 2], [2], { device })
  using output = Tensor.zeros([2], { device })
  const recording = native.record(() => native.add(input.native, output.native, 1))
  const bytes = liveBytes(device)
  input.dispose()
  expect(liveBytes(device)).toBe(bytes)
  recording.replay()
  expect(await output.data()).toEqual(Float32Array.of(2, 4))
  recording.dispose()
  expect(liveBytes(device)).toBeLessThan(bytes)
})

test('an error in a recorded operation is thrown, and ends the recording', () => {
  using target = Tensor.zeros([2], { device })
  const broken = () => {
    native.fill(target.native, 1)
    throw new Error('broken')
  }
  expect(() => native.record(broken)).toThrow('broken')
  expect(() => native.record(() => native.record(() => {}))).toThrow('record: operations are being recorded already.')
  native.record(() => native.fill(target.native, 2)).dispose()
})
