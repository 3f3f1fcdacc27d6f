/** Values that leave the device. */
import { expect, test } from 'vitest'
import { Tensor } from '../../lib/tensor/tensor.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()

test.each(['float32', 'bfloat16', 'float16'] as const)(
  '%s: into given memory, the bytes are the same',
  async (dtype) => {
    using whole = Tensor.from([1, -2, 3, 0.5, 7, 65504], [2, 3], { device, dtype })
    using column = whole.columns(1, 2)
    for (const tensor of [whole, column]) {
      const { buffer } = await tensor.bits()
      const memory = new Uint8Array(100).fill(255)
      const room = memory.subarray(8, 8 + buffer.byteLength)
      expect(await tensor.bytesInto(room)).toBe(room)
      expect(room).toEqual(new Uint8Array(buffer))
      expect(memory[7]).toBe(255)
      expect(memory[8 + room.length]).toBe(255)
    }
  },
)

test('memory of another length is refused', () => {
  using tensor = Tensor.from([1, 2, 3], [3], { device })
  expect(() => tensor.bytesInto(new Uint8Array(11))).toThrow('read: expected 12 bytes for float32 [3] but received 11.')
})
