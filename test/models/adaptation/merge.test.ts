/** Merging on disk gives the same as loading, merging and saving, without the model in memory (T19). */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import type { UsageError } from '../../../lib/common/errors.js'
import { randomStream } from '../../../lib/common/random.js'
import { writeShardedSafetensors } from '../../../lib/io/safetensors.js'
import { exportAdapter, loadModel, type MergeModelOptions, mergeModel } from '../../../lib/models/index.js'
import type { FloatDType } from '../../../lib/native/addon.js'
import { goldenPath, largestDifference, readTensors } from '../../golden/files.js'
import { ggufBytes, float32 as ggufFloat32, text, uint32 } from '../../io/gguf-bytes.js'
import { expectRejection, fileOf, useTemporaryFolder, writeFiles } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const threads = 2
const untied = goldenPath('tiny-untied/model')

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const merge = (options: MergeModelOptions) => mergeModel({ device, threads, ...options })

type Loaded = Pick<MergeModelOptions, 'model' | 'output'> & { adapter: string; dtype?: FloatDType }

/** The result of merging in memory. */
async function mergeLoaded({ model: path, adapter, output, dtype }: Loaded) {
  using model = await loadModel(path, { device, threads, dtype: 'float32' })
  await model.loadAdapter(adapter, 'x')
  const weights = async () => (await Promise.all(model.linears().map(({ weight }) => weight.data()))) as Float32Array[]
  const before = await weights()
  const result = await model.mergeAdapter('x')
  const changes = (await weights()).map((after, i) => largestDifference(after, before[i]!))
  await model.save(output, { dtype })
  return { ...result, maxAbsoluteChange: Math.fround(Math.max(...changes)) }
}

/** Files of a folder, and a hash of each. */
function filesOf(folder: string): Record<string, string> {
  const hashOf = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex')
  return Object.fromEntries(readdirSync(folder).map((name) => [name, hashOf(name)]))
}

/** An adapter with random values of this size beside every linear layer. */
async function randomAdapter(path: string, config: ReturnType<typeof mora | typeof lora>, size: number) {
  const folder = join(temporary(), `${config.method}-${size}`)
  const random = randomStream(1, 'merge')
  using model = await loadModel(path, { device, threads, dtype: 'float32' })
  model.addAdapter('x', config)
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => size * random.normal()))
  await model.saveAdapter('x', folder)
  return folder
}

/** The tensors of `tiny-untied` over several files. */
async function shardedModel(): Promise<string> {
  const folder = join(temporary(), 'sharded')
  const entries = [...readTensors(join(untied, 'model.safetensors'))].map(([name, { shape, values }]) => ({
    name,
    shape,
    dtype: 'float32' as const,
    data: async () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  }))
  const names = await writeShardedSafetensors(folder, entries, { maxShardBytes: 1e5 })
  expect(names.length).toBeGreaterThan(3)
  writeFileSync(join(folder, 'config.json'), readFileSync(join(untied, 'config.json')))
  return folder
}

/** A Llama in GGUF with tied embeddings: matrices in Q8_0, norms in float32, all values random. */
function ggufModel(): string {
  const [hidden, feedForward, layers, vocabulary] = [32, 64, 2, 40]
  const shapes: [string, number[]][] = [['token_embd.weight', [hidden, vocabulary]]]
  for (let i = 0; i < layers; i++) {
    const add = (name: string, ...sizes: number[]) => shapes.push([`blk.${i}.${name}.weight`, sizes])
    for (const norm of ['attn_norm', 'ffn_norm']) add(norm, hidden)
    for (const square of ['attn_q', 'attn_output']) add(square, hidden, hidden)
    for (const narrow of ['attn_k', 'attn_v']) add(narrow, hidden, hidden / 2)
    for (const wide of ['ffn_gate', 'ffn_up']) add(wide, hidden, feedForward)
    add('ffn_down', feedForward, hidden)
  }
  shapes.push(['output_norm.weight', [hidden]])
  const random = randomStream(2, 'gguf')
  const [float, q8] = [0, 8]
  // A block of Q8_0 is a scale in float16, here 2^-7, and 32 signed bytes.
  const block = () => Buffer.from([0, 0x20, ...Array.from({ length: 32 }, () => random.integer(256))])
  const data: Buffer[] = []
  let offset = 0
  const tensors = shapes.map(([name, sizes]) => {
    const count = sizes.reduce((product, size) => product * size, 1)
    const bytes =
      sizes.length === 1
        ? Buffer.from(Float32Array.from({ length: count }, () => 1 + random.normal() / 8).buffer)
        : Buffer.concat(Array.from({ length: count / 32 }, block))
    const padded = Buffer.concat([bytes, Buffer.alloc(-bytes.length & 31)])
    data.push(padded)
    const at = offset
    offset += padded.length
    return { name, sizes, type: sizes.length === 1 ? float : q8, offset: at }
  })
  const header = ggufBytes({
    tensors,
    metadata: [
      ['general.architecture', text('llama')],
      ['llama.block_count', uint32(layers)],
      ['llama.context_length', uint32(64)],
      ['llama.embedding_length', uint32(hidden)],
      ['llama.feed_forward_length', uint32(feedForward)],
      ['llama.attention.head_count', uint32(2)],
      ['llama.attention.head_count_kv', uint32(1)],
      ['llama.attention.layer_norm_rms_epsilon', ggufFloat32(1e-5)],
    ],
    dataBytes: offset,
  })
  const path = join(temporary(), 'tiny.gguf')
  writeFileSync(path, Buffer.concat([header.subarray(0, header.length - offset), ...data]))
  return path
}

describe('merged on disk, every file has the bytes of loading, merging and saving (T19):', () => {
  const golden = (model: string, adapter: string) => async () => ({
    model: goldenPath(`${model}/model`),
    adapter: goldenPath(`${model}/adapters/${adapter}`),
  })
  const cases: [string, () => Promise<{ model: string; adapter: string }>][] = [
    ...['rotation', 'rotation-attention-only', 'sharing', 'grouped', 'lora'].map(
      (name): [string, () => Promise<{ model: string; adapter: string }>] => [
        `a folder, ${name}`,
        golden('tiny-untied', name),
      ],
    ),
    ['tied embeddings', golden('tiny-tied-llama3-rope', 'rotation')],
    ['shards', async () => ({ ...(await golden('tiny-untied', 'rotation')()), model: await shardedModel() })],
    [
      'GGUF',
      async () => {
        const model = ggufModel()
        return { model, adapter: await randomAdapter(model, mora({ rank: 4 }), 0.1) }
      },
    ],
  ]
  for (const dtype of [undefined, 'float32', 'float16'] as const) {
    test.each(cases)(`%s, in ${dtype ?? 'the dtype of the source'}`, async (_, inputs) => {
      const { model, adapter } = await inputs()
      const [streamed, loaded] = ['streamed', 'loaded'].map((name) => join(temporary(), name))
      const seen: number[] = []
      const onProgress = ({ done, total }: { done: number; total: number }) => seen.push(done / total)
      const result = await merge({ model, adapter, output: streamed!, dtype, onProgress })
      const expected = await mergeLoaded({ model, adapter, output: loaded!, dtype })
      expect(result).toEqual({ ...expected, output: streamed })
      expect(result.maxAbsoluteChange).toBeGreaterThan(0)
      expect(filesOf(streamed!)).toEqual(filesOf(loaded!))
      expect(seen).toEqual(seen.map((_, i) => (i + 1) / seen.length))
    })
  }
})

test('merging keeps the adapter and one weight in memory, not the model (T19)', async () => {
  const model = untied
  const adapter = await randomAdapter(model, mora({ rank: 2 }), 0.1)
  const output = join(temporary(), 'merged')
  const peakOf = async (work: () => Promise<unknown>): Promise<number> => {
    const { inUse } = testDevice().memory()
    testDevice().resetPeak()
    await work()
    return testDevice().memory().peak - inUse
  }
  const bytesOf = (path: string) => [...readTensors(path).values()].map(({ values }) => values.byteLength)
  const weights = bytesOf(join(model, 'model.safetensors'))
  const adapterBytes = bytesOf(join(adapter, 'adapter_model.safetensors')).reduce((sum, bytes) => sum + bytes, 0)
  // A weight as it is stored, in float32 and rounded again: never more than three at once.
  const bound = adapterBytes + 3 * Math.max(...weights)

  const merging = await peakOf(() => merge({ model, adapter, output, dtype: 'float32' }))
  expect(merging, 'peak of merging').toBeLessThan(bound)
  const loading = await peakOf(async () => (await loadModel(model, { device, threads, dtype: 'float32' })).dispose())
  expect(loading, 'peak of loading the model').toBeGreaterThan(bound)
})

test('without an adapter a model is converted, and is not written unchanged', async () => {
  const output = join(temporary(), 'm.gguf')
  expect(await merge({ model: untied, output })).toEqual({ merged: 0, maxAbsoluteChange: 0, output })
  using converted = await loadModel(output, { device, threads, dtype: 'float32' })
  using source = await loadModel(untied, { device, threads, dtype: 'float32' })
  for (const [i, { weight }] of converted.linears().entries())
    expect(await weight.data()).toEqual(await source.linears()[i]!.weight.data())
  const refusal =
    /^Without adapter the model would be written unchanged: give adapter, or the form to write \(format, dtype, quantise\)\.$/
  await expectRejection(merge({ model: untied, output: join(temporary(), 'same') }), 'missing-option', refusal)
  await merge({ model: output, output: join(temporary(), 'folder') })
})

describe('a folder that holds something', () => {
  const model = untied
  const adapter = goldenPath('tiny-untied/adapters/rotation')
  const files = (output: string) => (readdirSync(output, { recursive: true }) as string[]).sort()

  test('is refused, and with overwrite only the files of the model in it are replaced', async () => {
    const output = join(temporary(), 'merged')
    const foreign = { 'notes.txt': 'mine', 'photos/model.safetensors': 'too', 'photos/deep/thesis.txt': 'x' }
    const former = {
      'model-00001-of-00002.safetensors': 'half',
      'model.safetensors.index.json': '{}',
      'tokenizer.model': 'of another',
      'additional_chat_templates/tool_use.jinja': 'of another',
      '1_Pooling/config.json': '{}',
    }
    writeFiles(output, new Map(Object.entries({ ...foreign, ...former })))
    const before = files(output)
    using loaded = await loadModel(model, { device, threads })
    const save = (overwrite?: boolean) => loaded.save(output, { overwrite })
    const lora = join(temporary(), 'lora')
    writeFiles(lora, new Map([['adapter_notes.txt', 'mine']]))
    const toPeft = (overwrite?: boolean) =>
      exportAdapter({
        model,
        adapter: goldenPath('tiny-untied/adapters/sharing'),
        output: lora,
        format: 'peft',
        overwrite,
      })
    for (const write of [save, () => merge({ model, adapter, output }), toPeft])
      await expectRejection(
        write(),
        'output-exists',
        /^output: ".*" is not empty; choose another folder or give overwrite: true\.$/,
      )
    expect(files(output)).toEqual(before)

    const own = ['config.json', 'generation_config.json', 'model.safetensors']
    for (const write of [() => merge({ model, adapter, output, overwrite: true }), () => save(true)]) {
      await write()
      expect(files(output)).toEqual(
        [...own, 'notes.txt', 'photos', 'photos/deep', ...Object.keys(foreign).slice(1)].sort(),
      )
      for (const [name, content] of Object.entries(foreign))
        expect(readFileSync(join(output, name), 'utf8')).toBe(content)
    }
    await toPeft(true)
    expect(files(lora)).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'adapter_notes.txt'])
    expect(readdirSync(temporary()).sort()).toEqual(['lora', 'merged'])

    const file = fileOf(temporary(), 'there.gguf', 'mine')
    await expectRejection(merge({ model, adapter, output: file }), 'output-exists', /is there already/)
    expect(readFileSync(file, 'utf8')).toBe('mine')
    await merge({ model, adapter, output: file, overwrite: true })
    expect(readFileSync(file).subarray(0, 4).toString()).toBe('GGUF')
  })

  test.each([
    ['a run', () => fileOf(temporary(), 'run.yaml', ''), 'holds what was trained (run.yaml)'],
    [
      'an adapter',
      () => fileOf(temporary(), 'adapter_config.json', ''),
      'holds what was trained (adapter_config.json)',
    ],
    ['a checkpoint', () => fileOf(temporary(), 'weights.safetensors', ''), 'holds what was trained'],
    ['the base', () => join(model, 'config.json'), 'which is read meanwhile'],
    ['the base, by a link', linkToBase, 'which is read meanwhile'],
    ['the working directory', () => join(process.cwd(), 'package.json'), 'is the working directory'],
    ['a folder above it', () => process.cwd(), 'is the working directory, or a folder above it'],
  ])('is never replaced where it is %s', async (_, file, why) => {
    const held = file()
    const output = dirname(held)
    const { ino } = statSync(output)
    using loaded = await loadModel(model, { device, threads })
    for (const write of [
      () => merge({ model, adapter, output, overwrite: true }),
      () => loaded.save(output, { overwrite: true }),
    ])
      await expect(write()).rejects.toThrow(why)
    expect(statSync(output).ino).toBe(ino)
    expect(existsSync(held)).toBe(true)
  })

  function linkToBase() {
    symlinkSync(model, join(temporary(), 'link'))
    return join(temporary(), 'link', 'config.json')
  }
})

describe('a merge that fails leaves nothing behind (T19):', () => {
  const code = (expected: string) => expect.objectContaining<Partial<UsageError>>({ code: expected })
  const overflowing = { float32: 1e30, float16: 1e3 } as const

  test.each(['float32', 'float16'] as const)('values that are not finite, in %s', async (dtype) => {
    const model = untied
    const adapter = await randomAdapter(model, lora({ rank: 2 }), overflowing[dtype])
    const output = join(temporary(), 'out', 'merged')
    mkdirSync(output, { recursive: true })
    writeFileSync(join(output, 'kept'), 'as it was')
    const before = filesOf(output)
    await expect(merge({ model, adapter, output, dtype, overwrite: true })).rejects.toEqual(code('non-finite'))
    expect(readdirSync(dirname(output))).toEqual(['merged'])
    expect(filesOf(output)).toEqual(before)
    expect(liveBytes(testDevice()), 'bytes in use').toBe(0)
  })

  test('an adapter of another model', async () => {
    const adapter = goldenPath('tiny-untied/adapters/rotation')
    const output = join(temporary(), 'merged')
    const model = goldenPath('tiny-tied-llama3-rope/model')
    await expect(merge({ model, adapter, output })).rejects.toEqual(code('unfit-adapter'))
    expect(readdirSync(temporary())).toEqual([])
    expect(liveBytes(testDevice()), 'bytes in use').toBe(0)
  })
})
