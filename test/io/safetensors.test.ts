import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readModelFolder } from '../../lib/io/model-folder.js'
import {
  readSafetensorsHeader,
  type SafetensorsEntry,
  writeSafetensors,
  writeShardedSafetensors,
} from '../../lib/io/safetensors.js'
import type { SafetensorsDType } from '../../lib/io/stored-dtype.js'
import { assetPath, lacksAsset } from '../assets.js'
import { goldenPath } from '../golden/files.js'
import { needing } from '../needs.js'
import { safetensorsBytes } from './safetensors-bytes.js'
import { expectRejection, fileOf, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()

function entry(name: string, dtype: SafetensorsDType, shape: number[], bytes: number): SafetensorsEntry {
  return { name, dtype, shape, data: async () => Uint8Array.from({ length: bytes }, (_, index) => index + name.length) }
}

describe('readSafetensorsHeader', () => {
  const one = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] }

  it('returns dtypes, shapes, absolute offsets and metadata', async () => {
    const header = {
      b: { dtype: 'F64', shape: [], data_offsets: [24, 32] },
      a: one,
      empty: { dtype: 'BF16', shape: [0, 5], data_offsets: [24, 24] },
      __metadata__: { format: 'pt' },
    }
    const bytes = safetensorsBytes(header, 32)
    const path = fileOf(folder(), 'x.safetensors', bytes)
    const start = bytes.length - 32
    expect(await readSafetensorsHeader(path)).toEqual({
      path,
      metadata: { format: 'pt' },
      tensors: new Map([
        ['a', { path, dtype: 'float32', shape: [2, 3], offset: start, bytes: 24 }],
        ['empty', { path, dtype: 'bfloat16', shape: [0, 5], offset: start + 24, bytes: 0 }],
        ['b', { path, dtype: 'F64', shape: [], offset: start + 24, bytes: 8 }],
      ]),
    })
  })

  it('accepts a file without tensors', async () => {
    expect((await readSafetensorsHeader(fileOf(folder(), 'x', safetensorsBytes('{}  ', 0)))).tensors.size).toBe(0)
  })

  it('refuses more tensors than any file has', async () => {
    const none = { dtype: 'F32', shape: [0], data_offsets: [0, 0] }
    const many = Object.fromEntries(Array.from({ length: 2 ** 18 + 1 }, (_, i) => [`t${i}`, none]))
    const path = fileOf(folder(), 'x', safetensorsBytes(many, 0))
    await expectRejection(readSafetensorsHeader(path), 'malformed-file', /it has more than 262144 tensors/)
  })

  const malformed: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(), /0 bytes/],
    [
      'a header that claims more than the file',
      safetensorsBytes({}, 0, 1000),
      /claims 1000 bytes, but the file has 10/,
    ],
    ['a header past 100 MB', safetensorsBytes({}, 0, 2n ** 63n), /at most 100000000 are allowed/],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0'), /git lfs pull/],
    ['a header that starts otherwise', safetensorsBytes(' {}', 0), /does not start with '\{'/],
    ['a header that is not UTF-8', Buffer.from([4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x22, 0xff, 0x7d]), /UTF-8/],
    ['metadata that is no object', safetensorsBytes({ __metadata__: [] }, 0), /__metadata__ is not an object/],
    ['metadata that is no text', safetensorsBytes({ __metadata__: { a: 1 } }, 0), /"a", which is not a string/],
    ['a tensor that is no object', safetensorsBytes({ a: 1 }, 0), /"a" is not described by an object/],
    ['an unknown dtype', safetensorsBytes({ a: { ...one, dtype: 'F31' } }, 24), /unknown dtype "F31"/],
    ['a dtype of Object.prototype', safetensorsBytes({ a: { ...one, dtype: 'toString' } }, 24), /unknown dtype/],
    ['no dtype', safetensorsBytes({ a: { ...one, dtype: undefined } }, 24), /"a" has no dtype/],
    ['no shape', safetensorsBytes({ a: { ...one, shape: 6 } }, 24), /no shape/],
    ['no offsets', safetensorsBytes({ a: { ...one, data_offsets: undefined } }, 24), /"a" has no data_offsets/],
    ['a negative size', safetensorsBytes({ a: { ...one, shape: [-2, -3] } }, 24), /impossible shape/],
    ['a fraction', safetensorsBytes({ a: { ...one, shape: [1.5, 4] } }, 24), /impossible shape/],
    ['an overflowing shape', safetensorsBytes({ a: { ...one, shape: [2 ** 31, 2 ** 31] } }, 24), /impossible shape/],
    ['overflowing bytes', safetensorsBytes({ a: { ...one, shape: [2 ** 52] } }, 24), /impossible shape/],
    ['half a byte', safetensorsBytes({ a: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } }, 2), /impossible shape/],
    ['swapped offsets', safetensorsBytes({ a: { ...one, data_offsets: [24, 0] } }, 24), /impossible data_offsets/],
    ['three offsets', safetensorsBytes({ a: { ...one, data_offsets: [0, 24, 24] } }, 24), /impossible data_offsets/],
    ['a tensor past the end', safetensorsBytes({ a: one }, 23), /was it cut off\?/],
    [
      'a size that is not the shape’s',
      safetensorsBytes({ a: { ...one, shape: [2, 2] } }, 24),
      /takes 16 bytes, but .* 24/,
    ],
    ['bytes after the tensors', safetensorsBytes({ a: one }, 25), /1 bytes after tensor "a"/],
    [
      'a hole',
      safetensorsBytes({ a: { ...one, data_offsets: [8, 32] } }, 32),
      /8 bytes between the header and tensor "a"/,
    ],
    ['an overlap', safetensorsBytes({ a: one, b: { ...one, data_offsets: [20, 44] } }, 44), /"b" overlaps tensor "a"/],
    ['shared bytes', safetensorsBytes({ a: one, b: one }, 24), /overlaps/],
  ]
  it.each(malformed)('refuses %s', async (_, bytes, message) => {
    await expectRejection(readSafetensorsHeader(fileOf(folder(), 'x', bytes)), 'malformed-file', message)
  })

  it('refuses broken JSON and repeated names', async () => {
    const broken = fileOf(folder(), 'x', safetensorsBytes('{"a": }', 0))
    await expectRejection(
      readSafetensorsHeader(broken),
      'malformed-json',
      /The header of .*x is not valid JSON: .*column 7/,
    )
    const twice = fileOf(folder(), 'y', safetensorsBytes(`{"a":${JSON.stringify(one)},"a":${JSON.stringify(one)}}`, 24))
    await expectRejection(readSafetensorsHeader(twice), 'malformed-json', /"a" is given twice/)
  })

  it('refuses a file cut off anywhere', async () => {
    const path = join(folder(), 'whole.safetensors')
    await writeSafetensors(path, [entry('a', 'float32', [2], 8), entry('b', 'uint8', [3], 3)])
    const whole = readFileSync(path)
    for (let length = 0; length < whole.length; length++) {
      const cut = fileOf(folder(), 'cut', whole.subarray(0, length))
      await expectRejection(readSafetensorsHeader(cut), 'malformed-file', /cut is malformed/)
    }
  })
})

describe('writeSafetensors', () => {
  it('round-trips, aligned, with wide elements first', async () => {
    const path = join(folder(), 'new/x.safetensors')
    const entries = [
      entry('byte', 'uint8', [3], 3),
      entry('half', 'bfloat16', [1, 3], 6),
      entry('wide', 'F64', [1], 8),
      entry('naïve', 'float32', [2], 8),
      entry('none', 'float32', [0], 0),
    ]
    await writeSafetensors(path, entries, { note: 'ü' })
    const { tensors, metadata } = await readSafetensorsHeader(path)
    expect(metadata).toEqual({ note: 'ü' })
    expect([...tensors.keys()].sort()).toEqual(['byte', 'half', 'naïve', 'none', 'wide'])
    const bytes = readFileSync(path)
    const elementBytes: Record<string, number> = { byte: 1, half: 2, wide: 8, naïve: 4, none: 4 }
    for (const { name, dtype, shape, data } of entries) {
      const found = tensors.get(name)!
      expect(found).toMatchObject({ dtype, shape })
      expect(found.offset % elementBytes[name]!).toBe(0)
      expect(new Uint8Array(bytes.subarray(found.offset, found.offset + found.bytes))).toEqual(await data())
    }
    expect((bytes.length - (3 + 6 + 8 + 8)) % 8).toBe(0)
  })

  it('T19 asks for one tensor at a time', async () => {
    let held = 0
    const lazily = (name: string): SafetensorsEntry => ({
      name,
      dtype: 'uint8',
      shape: [4],
      data: async () => {
        expect(++held).toBe(1)
        setImmediate(() => held--)
        return new Uint8Array(4)
      },
    })
    await writeSafetensors(join(folder(), 'x'), ['a', 'b', 'c'].map(lazily))
    expect((await readSafetensorsHeader(join(folder(), 'x'))).tensors.size).toBe(3)
  })

  it('T18 refuses two tensors of one name', async () => {
    const entries = [entry('a', 'uint8', [1], 1), entry('a', 'uint8', [1], 1)]
    await expectRejection(writeSafetensors(join(folder(), 'x'), entries), 'duplicate-tensor', /under the name a/)
  })

  it('refuses data that does not fit the shape, and leaves no file', async () => {
    const failing = writeSafetensors(join(folder(), 'x'), [entry('a', 'float32', [2], 7)])
    await expectRejection(failing, 'tensor-size', /a of shape \[2\] and float32 takes 8 bytes, but received 7/)
    expect(readdirSync(folder())).toEqual([])
  })

  it('refuses block formats', async () => {
    const blocks = { ...entry('a', 'uint8', [32], 18), dtype: 'q4_0' as unknown as SafetensorsDType }
    await expectRejection(writeSafetensors(join(folder(), 'x'), [blocks]), 'unfit-tensor', /dequantise/)
  })

  it('T19 checks the free space before it writes', async () => {
    const huge = entry('a', 'uint8', [1e15], 0)
    await expectRejection(writeSafetensors(join(folder(), 'x'), [huge]), 'disk-full', /909 TiB/)
    await expectRejection(writeShardedSafetensors(folder(), [huge]), 'disk-full', /The model takes 909 TiB/)
    expect(readdirSync(folder())).toEqual([])
  })
})

describe('model folders', () => {
  const entries = [
    entry('model.a', 'float32', [4], 16),
    entry('model.b', 'float32', [10], 40),
    entry('model.c', 'uint8', [3], 3),
    entry('model.d', 'bfloat16', [2], 4),
  ]

  it('writes and reads one file, with the metadata that transformers requires', async () => {
    expect(await writeShardedSafetensors(folder(), entries)).toEqual(['model.safetensors'])
    expect((await readModelFolder(folder())).size).toBe(4)
    const { metadata } = await readSafetensorsHeader(join(folder(), 'model.safetensors'))
    expect(metadata).toEqual({ format: 'pt' })
  })

  it('writes and reads shards', async () => {
    const written = await writeShardedSafetensors(folder(), entries, { maxShardBytes: 20 })
    const shards = [1, 2, 3].map((number) => `model-0000${number}-of-00003.safetensors`)
    expect(written).toEqual([...shards, 'model.safetensors.index.json'])
    expect(readdirSync(folder()).sort()).toEqual(written.toSorted())
    expect(JSON.parse(readFileSync(join(folder(), 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 63 },
      weight_map: { 'model.a': shards[0], 'model.b': shards[1], 'model.c': shards[2], 'model.d': shards[2] },
    })
    const locations = await readModelFolder(folder())
    for (const { name, data } of entries) {
      const { path, offset, bytes } = locations.get(name)!
      expect(new Uint8Array(readFileSync(path).subarray(offset, offset + bytes))).toEqual(await data())
    }
  })

  it('names missing shards and missing tensors', async () => {
    await writeShardedSafetensors(folder(), entries, { maxShardBytes: 20 })
    const [first, second] = [1, 2].map((number) => join(folder(), `model-0000${number}-of-00003.safetensors`))
    writeFileSync(second!, readFileSync(first!))
    await expectRejection(readModelFolder(folder()), 'malformed-file', /model-00002-of-00003.*lacks: model\.b/)
    mkdirSync(join(folder(), 'other'))
    writeFileSync(
      join(folder(), 'other/model.safetensors.index.json'),
      '{"weight_map": {"a": "x", "b": "y", "c": "x"}}',
    )
    await expectRejection(readModelFolder(join(folder(), 'other')), 'missing-file', /lacks 2 of 2 .*: x, y/)
  })

  it.each(['../x', '/etc/x', 'a/../../x', '..', '.', '', 'a\\b', 7])(
    'refuses a shard outside the folder: %j',
    async (shard) => {
      fileOf(folder(), 'model.safetensors.index.json', JSON.stringify({ weight_map: { a: shard } }))
      await expectRejection(readModelFolder(folder()), 'malformed-file', /which is no file of this folder/)
    },
  )

  it.each([
    ['{}', /weight_map/],
    ['{"weight_map": {}}', /empty/],
    ['{"weight_map": {"a": "x", "a": "y"}}', /twice/],
  ])('refuses the index %s', async (text, message) => {
    fileOf(folder(), 'model.safetensors.index.json', text)
    await expectRejection(
      readModelFolder(folder()),
      text.includes('"y"') ? 'malformed-json' : 'malformed-file',
      message,
    )
  })

  it('says what a folder without a model contains', async () => {
    await expectRejection(readModelFolder(join(folder(), 'none')), 'missing-file', /does not exist/)
    await expectRejection(readModelFolder(folder()), 'missing-file', /neither model\.safetensors nor/)
    fileOf(folder(), 'pytorch_model.bin', '')
    await expectRejection(readModelFolder(folder()), 'missing-file', /convert it to safetensors/)
  })
})

describe('files that other tools wrote', () => {
  needing(lacksAsset('golden', 'golden data')).it('are all accepted', async () => {
    const golden = assetPath('golden')
    const names = readdirSync(golden, { recursive: true, encoding: 'utf8' })
    const files = names.filter((name) => name.endsWith('.safetensors'))
    expect(files.length).toBeGreaterThan(0)
    for (const name of files) {
      const { tensors } = await readSafetensorsHeader(join(golden, name))
      expect(tensors.size, name).toBeGreaterThan(0)
    }
  })

  it('have the tensors of a bfloat16 checkpoint if its configuration says so', async () => {
    const tensors = await readModelFolder(goldenPath('tiny-tied-llama3-rope/model'))
    expect(tensors.get('model.embed_tokens.weight')).toMatchObject({
      dtype: 'bfloat16',
      shape: [300, 48],
      bytes: 28800,
    })
  })
})
