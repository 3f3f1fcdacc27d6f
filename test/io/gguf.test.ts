import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readGguf } from '../../lib/io/gguf.js'
import {
  array,
  bool,
  float32,
  float64,
  type GgufParts,
  ggufBytes,
  int64,
  text,
  uint8,
  uint32,
  uint64,
} from './gguf-bytes.js'
import { expectRejection, fileOf, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()

describe('readGguf', () => {
  it.each([2, 3])('reads metadata and places of tensors of version %i', async (version) => {
    const bytes = ggufBytes({
      version,
      metadata: [
        ['general.architecture', text('llamä')],
        ['general.alignment', uint32(64)],
        ['number', float32(0.5)],
        ['wide', float64(0.1)],
        ['yes', bool(1)],
        ['big', uint64(2n ** 63n)],
        ['small', int64(-5n)],
        ['list', array(8, [text('a'), text('')])],
        ['nested', array(9, [array(0, [uint8(1), uint8(2)]), array(4, [])])],
      ],
      tensors: [
        { name: 'q', sizes: [64, 3], type: 3, offset: 128 },
        { name: 'norm', sizes: [5], type: 0, offset: 0 },
        { name: 'scalar', sizes: [], type: 28, offset: 64 },
      ],
      alignment: 64,
      dataBytes: 128 + 120,
    })
    const path = fileOf(folder(), 'x.gguf', bytes)
    const data = bytes.length - 248
    expect(await readGguf(path)).toEqual({
      path,
      metadata: new Map<string, unknown>([
        ['general.architecture', 'llamä'],
        ['general.alignment', 64],
        ['number', 0.5],
        ['wide', 0.1],
        ['yes', true],
        ['big', 2n ** 63n],
        ['small', -5],
        ['list', ['a', '']],
        ['nested', [[1, 2], []]],
      ]),
      tensors: new Map([
        ['q', { path, dtype: 'q4_1', shape: [3, 64], offset: data + 128, bytes: 120 }],
        ['norm', { path, dtype: 'float32', shape: [5], offset: data, bytes: 20 }],
        ['scalar', { path, dtype: 'F64', shape: [], offset: data + 64, bytes: 8 }],
      ]),
    })
  })

  it('reads headers longer than the first chunk', async () => {
    const tokens = Array.from({ length: 5 }, (_, index) => text(String(index).repeat(3_000_000)))
    const tensors = [{ name: 'a', sizes: [4], type: 0, offset: 0 }]
    const path = fileOf(folder(), 'x', ggufBytes({ metadata: [['tokens', array(8, tokens)]], tensors, dataBytes: 16 }))
    const { metadata, tensors: found } = await readGguf(path)
    expect((metadata.get('tokens') as string[]).map((token) => token.length)).toEqual(Array(5).fill(3_000_000))
    expect(found.get('a')!.bytes).toBe(16)
  })

  it('refuses headers longer than any', async () => {
    const metadata: GgufParts['metadata'] = [['a', { type: 8, bytes: uint64(2n ** 29n).bytes }]]
    const path = fileOf(folder(), 'x', ggufBytes({ metadata }))
    truncateSync(path, 2 ** 30)
    await expectRejection(readGguf(path), 'malformed-file', /its header is longer than 536870912 bytes/)
  })

  it('reads a file without tensors', async () => {
    expect((await readGguf(fileOf(folder(), 'x', ggufBytes({})))).tensors.size).toBe(0)
  })

  const tensor = { name: 'a', sizes: [32, 2], type: 2, offset: 0 }
  const malformed: [string, GgufParts, RegExp][] = [
    ['another magic', { magic: 'GGML' }, /does not start with "GGUF"/],
    ['a Git LFS pointer', { magic: 'version https://git-lfs.github.com/spec/v1' }, /git lfs pull/],
    ['a web page', { magic: '<!doctype html>' }, /it is a web page/],
    ['version 1', { version: 1 }, /version 1, and only versions 2 and 3/],
    ['a big-endian file', { version: 0x03000000 }, /big-endian/],
    ['more tensors than fit', { tensorCount: 2n ** 40n }, /number of tensors claims/],
    ['more tensors than any has', { tensorCount: 2n ** 18n + 1n, dataBytes: 2 ** 23 }, /more than 262144 tensors/],
    ['more metadata than fits', { metadataCount: 2n ** 63n }, /number of metadata entries claims/],
    [
      'a string past the end',
      { metadata: [['a', { type: 8, bytes: uint64(2n ** 50n).bytes }]] },
      /metadata "a" claims/,
    ],
    [
      'an array past the end',
      { metadata: [['a', array(8, [], 2n ** 32n)]] },
      /metadata "a" claims 4294967296 × 8 bytes/,
    ],
    [
      'a string that is not UTF-8',
      { metadata: [['a', { type: 8, bytes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 255) }]] },
      /not UTF-8/,
    ],
    ['an unknown value type', { metadata: [['a', { type: 13, bytes: new Uint8Array(8) }]] }, /unknown value type 13/],
    ['an unknown element type', { metadata: [['a', array(99, [])]] }, /unknown value type 99/],
    ['a boolean of 2', { metadata: [['a', bool(2)]] }, /boolean of value 2/],
    [
      'a repeated key',
      {
        metadata: [
          ['a', uint8(1)],
          ['a', uint8(1)],
        ],
      },
      /metadata "a" is given twice/,
    ],
    [
      'deep arrays',
      { metadata: [['a', array(9, [array(9, [array(9, [array(9, [array(0, [])])])])])]] },
      /nests arrays/,
    ],
    ['an alignment of 48', { metadata: [['general.alignment', uint32(48)]] }, /general\.alignment is 48/],
    ['an alignment of 0', { metadata: [['general.alignment', uint32(0)]] }, /general\.alignment is 0/],
    ['an alignment of text', { metadata: [['general.alignment', text('32')]] }, /general\.alignment is 32/],
    ['a repeated tensor', { tensors: [tensor, tensor], dataBytes: 36 }, /"a" is listed twice/],
    ['five dimensions', { tensors: [{ ...tensor, sizes: [1, 1, 1, 1, 1] }], dataBytes: 4 }, /5 dimensions/],
    ['an unknown tensor type', { tensors: [{ ...tensor, type: 4 }], dataBytes: 36 }, /unknown type 4/],
    ['half a block in a row', { tensors: [{ ...tensor, sizes: [16, 4] }], dataBytes: 36 }, /rows of a multiple of 32/],
    [
      'an overflowing shape',
      { tensors: [{ ...tensor, sizes: [2 ** 40, 2 ** 40] }], dataBytes: 36 },
      /impossible shape/,
    ],
    ['a size past 2^53', { tensors: [{ ...tensor, sizes: [2n ** 63n] }], dataBytes: 36 }, /impossible shape/],
    ['an unaligned offset', { tensors: [{ ...tensor, offset: 18 }], dataBytes: 64 }, /offset 18, which is no multiple/],
    [
      'an offset past 2^53',
      { tensors: [{ ...tensor, offset: 2n ** 63n }], dataBytes: 36 },
      /offset 9223372036854775808/,
    ],
    ['a tensor past the end', { tensors: [{ ...tensor, offset: 32 }], dataBytes: 36 }, /was it cut off\?/],
    [
      'an overlap',
      { tensors: [tensor, { ...tensor, name: 'b', offset: 32 }], dataBytes: 99 },
      /"b" overlaps tensor "a"/,
    ],
  ]
  it.each(malformed)('refuses %s', async (_, parts, message) => {
    await expectRejection(readGguf(fileOf(folder(), 'x.gguf', ggufBytes(parts))), 'malformed-file', message)
  })

  it('refuses a file cut off anywhere', async () => {
    const whole = ggufBytes({
      metadata: [['list', array(9, [array(8, [text('ab')])])]],
      tensors: [tensor, { name: 'b', sizes: [3], type: 0, offset: 64 }],
      dataBytes: 76,
    })
    for (let length = 0; length < whole.length; length++) {
      const cut = fileOf(folder(), 'cut', whole.subarray(0, length))
      await expectRejection(readGguf(cut), 'malformed-file', /cut is malformed/)
    }
  })

  it('says that a file is missing', async () => {
    await expectRejection(readGguf(join(folder(), 'none.gguf')), 'missing-file', /none\.gguf/)
  })
})
