/** Block formats of GGUF, and plain half floats, against the gguf package's values of the same bytes. */
import { afterAll, describe, expect, test } from 'vitest'
import { type DType, native } from '../../lib/native/addon.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { goldenPath, readTensors } from './files.js'

const plain: Record<string, DType> = { F16: 'float16', BF16: 'bfloat16' }
const device = testDevice()
const tensors = readTensors(goldenPath('gguf-blocks.safetensors'))
const types = [...tensors.keys()].flatMap((name) => (name.endsWith('.raw') ? [name.slice(0, -4)] : []))

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

test('every type has data', () => expect(types.length).toBe(17))

for (const type of types) {
  describe(type, () => {
    const [raw, values] = [tensors.get(`${type}.raw`)!, tensors.get(`${type}.values`)!]
    const dtype = plain[type] ?? (type.toLowerCase() as DType)
    // Whole rows: one block a row, and all blocks in one row.
    for (const shape of [values.shape, [1, values.values.length]]) {
      test(`bit for bit in rows of ${shape[1]}`, async () => {
        const halves = plain[type] ? new Uint16Array(raw.bytes.buffer) : raw.bytes
        const source = native.fromArray(device, dtype, shape, halves)
        const target = native.empty(device, 'float32', shape)
        native.dequantise(source, target)
        const got = (await target.read()) as Float32Array
        const differing = got.findIndex((value, i) => !Object.is(value, values.values[i]))
        expect(differing, `first differing value: ${got[differing]}, not ${values.values[differing]}`).toBe(-1)
        source.dispose()
        target.dispose()
      })
    }

    if (type in plain) return
    test('rows of an embedding', async () => {
      const width = values.shape[1]!
      const table = native.fromArray(device, dtype, values.shape, raw.bytes)
      const ids = native.fromArray(device, 'int32', [3], Int32Array.of(5, 0, 23))
      const y = native.empty(device, 'float32', [3, width])
      native.embedding(table, ids, y)
      const wanted = [5, 0, 23].flatMap((row) => [...values.values.subarray(row * width, (row + 1) * width)])
      expect([...((await y.read()) as Float32Array)]).toEqual(wanted)
      for (const tensor of [table, ids, y]) tensor.dispose()
    })
  })
}
