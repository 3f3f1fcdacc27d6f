/** Values that are read from the device, and rows that are read into it from files. */
import { describe, expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { Tensor, transposedView } from '../../lib/tensor/tensor.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const temporary = useTemporaryFolder()

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

test('a tensor that is read in pieces has the same bytes, also a view with other strides', async () => {
  const [rows, columns] = [1025, 2053]
  const values = Float32Array.from({ length: rows * columns }, (_, i) => i)
  using whole = Tensor.from(values, [rows, columns], { device })
  using turned = transposedView(whole)
  for (const tensor of [whole, turned]) {
    const room = new Uint8Array(values.byteLength)
    await tensor.bytesInto(room)
    expect(Buffer.from(room).equals(Buffer.from(((await tensor.bits()) as Float32Array).buffer))).toBe(true)
  }
  expect((await turned.bits()).at(1)).toBe(columns)
})

test.each([
  [3, 11, 'expected 12 bytes for float32 [3] but received 11.'],
  [2 ** 20 + 1, 2 ** 23 + 8, 'expected 4194304 bytes for float32 [1048576] but received 8388608.'],
])('memory of another length is refused, for %i values', async (length, bytes, message) => {
  using tensor = Tensor.zeros([length], { device })
  await expect(tensor.bytesInto(new Uint8Array(bytes))).rejects.toThrow(`read: ${message}`)
})

test('values in CPU memory are readable at once; those of other dtypes, strides and devices are not', async () => {
  using tensor = Tensor.from([1, -2, 3, 0.5], [2, 2], { device })
  using half = Tensor.from([1], [1], { device, dtype: 'bfloat16' })
  using turned = transposedView(tensor)
  await device.synchronize()
  const onCpu = device.kind === 'cpu'
  expect(tensor.dataAtOnce()).toEqual(onCpu ? Float32Array.of(1, -2, 3, 0.5) : null)
  expect(half.dataAtOnce()).toBeNull()
  expect(turned.dataAtOnce()).toBeNull()
  if (!onCpu) return
  // The enqueued work has not begun when the value is read.
  using large = Tensor.zeros([1024, 1024], { device })
  using product = Tensor.zeros([1024, 1024], { device })
  for (let i = 0; i < 40; i++) native.matmul({ a: large.native, b: large.native, transposeB: true, c: product.native })
  expect(tensor.dataAtOnce()).toEqual(Float32Array.of(1, -2, 3, 0.5))
  expect(device.queueDepth()).toBeGreaterThan(0)
})

describe('rows of a file', () => {
  const written = Float32Array.of(-1, -1, 1, 2, 3, 4, 5, 6)
  const openRows = () => native.openFile(fileOf(temporary(), 'rows', Buffer.from(written.buffer)))
  const offset = 8

  test('are read into an existing matrix, in the requested order', async () => {
    const file = openRows()
    using whole = Tensor.zeros([4, 2], { device })
    using rows = whole.rows(1, 4)
    native.readRows(rows.native, file, offset, null)
    expect(await whole.data()).toEqual(Float32Array.of(0, 0, 1, 2, 3, 4, 5, 6))
    native.readRows(rows.native, file, offset, Int32Array.of(2, 0, 1))
    file.close()
    expect(await whole.data()).toEqual(Float32Array.of(0, 0, 5, 6, 1, 2, 3, 4))
  })

  test.each([
    [[3, 2], 16, null, /rows ends at byte 32, but bytes 16 to 40 were expected/],
    [[3, 2], offset, Int32Array.of(0, 1), /readRows: expected an order of 3 rows/],
    [[3, 2], offset, Int32Array.of(0, 1, 3), /readRows: expected an order of 3 rows/],
    [[3, 2], offset, Int32Array.of(0, -1, 1), /readRows: expected an order of 3 rows/],
    [[6], offset, null, /readRows: expected a dense matrix but received float32 \[6\]/],
  ])('into %j from byte %i in the order %j are refused', (shape, from, order, message) => {
    const file = openRows()
    using target = Tensor.zeros(shape, { device })
    expect(() => native.readRows(target.native, file, from, order)).toThrow(message)
    file.close()
  })
})
