import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readGguf } from '../../lib/io/gguf.js'
import {
  bool,
  float32,
  type GgufEntry,
  type GgufField,
  ggufText,
  list,
  plainMetadata,
  uint32,
  writeGguf,
} from '../../lib/io/gguf-writer.js'
import { expectRejection, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()

const tensor = (name: string, dtype: GgufEntry['dtype'], shape: number[], bytes: number): GgufEntry => ({
  name,
  dtype,
  shape,
  data: async () => new Uint8Array(bytes).fill(name.length),
})

describe('writeGguf', () => {
  it('writes every type of metadata, and tensors at aligned offsets, as the reader returns them', async () => {
    const fields = new Map<string, GgufField>([
      ['general.architecture', ggufText('llamä')],
      ['number', float32(0.1)],
      ['count', uint32(2 ** 32 - 1)],
      ['yes', bool(true)],
      ['no', bool(false)],
      ['byte', { type: 'uint8', value: 255 }],
      ['small', { type: 'int8', value: -5 }],
      ['short', { type: 'uint16', value: 2 ** 16 - 1 }],
      ['low', { type: 'int16', value: -(2 ** 15) }],
      ['lower', { type: 'int32', value: -(2 ** 31) }],
      ['wide', { type: 'float64', value: 0.1 }],
      ['big', { type: 'uint64', value: 2n ** 63n }],
      ['negative', { type: 'int64', value: -(2n ** 60n) }],
      ['words', list('string', ['a', '', 'ü\n'])],
      ['scores', list('float32', [-1, 0.5])],
      ['none', list('int32', [])],
    ])
    const entries = [
      tensor('first', 'float32', [5], 20),
      tensor('half', 'bfloat16', [3, 7], 42),
      tensor('blocks', 'q8_0', [2, 64], 136),
      tensor('last', 'float16', [1], 2),
    ]
    const path = join(folder(), 'new', 'x.gguf')
    await writeGguf(path, fields, entries)
    const file = await readGguf(path)
    expect(file.metadata).toEqual(plainMetadata(fields))
    expect(file.metadata.get('number')).toBe(Math.fround(0.1))
    expect([...file.tensors.keys()]).toEqual(['first', 'half', 'blocks', 'last'])
    const bytes = readFileSync(path)
    for (const { name, dtype, shape } of entries) {
      const place = file.tensors.get(name)!
      expect(place).toMatchObject({ dtype, shape })
      expect(place.offset % 32).toBe(0)
      expect([...bytes.subarray(place.offset, place.offset + place.bytes)]).toEqual(
        new Array(place.bytes).fill(name.length),
      )
    }
    expect(bytes.length % 32).toBe(0)
  })

  it('leaves nothing behind if a tensor fails or does not have the bytes of its shape', async () => {
    const path = join(folder(), 'x.gguf')
    const whole = tensor('a', 'float32', [4], 16)
    await expectRejection(
      writeGguf(path, new Map(), [whole, tensor('b', 'float32', [4], 12)]),
      'tensor-size',
      /b of shape \[4\] and float32 takes 16 bytes, but received 12/,
    )
    const failing = { ...whole, data: () => Promise.reject(new Error('device lost')) }
    await expect(writeGguf(path, new Map(), [failing])).rejects.toThrow('device lost')
    expect(readdirSync(folder())).toEqual([])
    await expect(writeGguf(path, new Map(), [tensor('c', 'q8_0', [2, 33], 70)])).rejects.toThrow(/does not fill blocks/)
  })
})
