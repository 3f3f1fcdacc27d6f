/** LoRA adapters in GGUF files, added to the weights of a model. */
import { beforeAll, describe, expect, test } from 'vitest'
import { ggufFamilyOf } from '../../../lib/models/families/gguf-config.js'
import { withGgufLora } from '../../../lib/models/read/added-lora.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { quantisedOnLoad } from '../../../lib/models/read/quantise-on-load.js'
import { native } from '../../../lib/native/addon.js'
import { keep } from '../../../lib/tensor/scope.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { goldenPath, largestDifference } from '../../golden/files.js'
import { float32, type GgufParts, ggufBytes, type TypedValue, text } from '../../io/gguf-bytes.js'
import { expectRejection, fileOf, useTemporaryFolder } from '../../io/temporary.js'
import { testDevice } from '../../operations/harness.js'

const at = useTemporaryFolder()
const NAME = 'blk.1.attn_v.weight'
const [OUT, IN, RANK] = [16, 32, 3]
const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * 0.7))

let source: ModelSource
beforeAll(async () => {
  source = await ModelSource.open(goldenPath('gguf-split/split/tiny-F16-00001-of-00003.gguf'))
})

type Changes = { metadata?: Record<string, TypedValue | null>; tensors?: GgufParts['tensors'] }
const f32 = (name: string, rows: number, columns: number, offset: number) => ({
  name,
  sizes: [columns, rows],
  type: 0,
  offset,
})
const good = [f32(`${NAME}.lora_a`, RANK, IN, 0), f32(`${NAME}.lora_b`, OUT, RANK, 384)]

/** Writes an adapter with A [RANK, IN] and B [OUT, RANK], of which a test changes parts. */
function adapter({ metadata = {}, tensors = good }: Changes = {}): string {
  const entries: Record<string, TypedValue | null> = {
    'general.architecture': text('llama'),
    'general.type': text('adapter'),
    'adapter.type': text('lora'),
    'adapter.lora.alpha': float32(6),
    ...metadata,
  }
  const present = Object.entries(entries).filter((entry): entry is [string, TypedValue] => entry[1] !== null)
  const bytes = Buffer.from(ggufBytes({ metadata: present, tensors, dataBytes: 4096 }))
  const [a, b] = [values(RANK * IN), values(OUT * RANK).map((value) => 0.1 * value)]
  bytes.set(Buffer.from(a.buffer), bytes.length - 4096)
  bytes.set(Buffer.from(b.buffer), bytes.length - 4096 + 384)
  return fileOf(at(), 'adapter.gguf', bytes)
}

const added = (path: string, weights = source.weights) =>
  withGgufLora(path, weights, source.config, ggufFamilyOf(source.config))

async function valueIn(weights: ModelSource['weights']): Promise<Float32Array> {
  const file = new Map<string, ReturnType<typeof native.openFile>>()
  const open = (path: string) => {
    if (!file.has(path)) file.set(path, native.openFile(path))
    return file.get(path)!
  }
  using target = keep(Tensor.empty([OUT, IN], { device: testDevice() }))
  weights.get('model.layers.1.self_attn.v_proj.weight')!.readInto(target, open)
  const read = (await target.data()) as Float32Array
  for (const one of file.values()) one.close()
  return read
}

describe('a LoRA in a GGUF file', () => {
  test.each([
    [6, 2],
    [0, 1],
  ])('of alpha %d is added with the scale %d', async (alpha, scale) => {
    const base = await valueIn(source.weights)
    const sum = await valueIn(await added(adapter({ metadata: { 'adapter.lora.alpha': float32(alpha) } })))
    const [a, b] = [values(RANK * IN), values(OUT * RANK).map((value) => 0.1 * value)]
    const expected = Float64Array.from(base, (value, i) => {
      const [row, column] = [Math.floor(i / IN), i % IN]
      for (let r = 0; r < RANK; r++) value += scale * b[row * RANK + r]! * a[r * IN + column]!
      return value
    })
    expect(largestDifference(sum, expected)).toBeLessThan(1e-6)
  })

  test('cannot be quantised with its weight', async () => {
    const weights = await added(adapter())
    expect(() => quantisedOnLoad(weights, source.config, 'q4_0')).toThrow(
      /an adapter is added to model\.layers\.1\.self_attn\.v_proj/,
    )
  })

  test('may be one of several', async () => {
    const path = adapter()
    const base = await valueIn(source.weights)
    const [once, twice] = [await added(path), await added(path, await added(path))]
    const [one, two] = [await valueIn(once), await valueIn(twice)]
    expect(
      largestDifference(
        two,
        Float64Array.from(one, (value, i) => 2 * value - base[i]!),
      ),
    ).toBeLessThan(1e-6)
  })

  test.each<[string, string, Changes, RegExp]>([
    [
      'a model',
      'unsupported-option',
      { metadata: { 'general.type': text('model') } },
      /general\.type model \(only adapter is\)/,
    ],
    [
      'another architecture',
      'unsupported-option',
      { metadata: { 'general.architecture': text('qwen2') } },
      /architecture qwen2 \(only llama is\)/,
    ],
    ['another kind', 'unsupported-option', { metadata: { 'adapter.type': text('other') } }, /adapter\.type other/],
    [
      'no alpha',
      'malformed-file',
      { metadata: { 'adapter.lora.alpha': null } },
      /lacks the metadata adapter\.lora\.alpha/,
    ],
    [
      'an unknown key',
      'unsupported-option',
      { metadata: { 'adapter.alora.invocation_tokens': text('x') } },
      /adapter\.alora\.invocation_tokens/,
    ],
    [
      'another tensor',
      'unsupported-option',
      { tensors: [...good, f32('other.weight', 1, 1, 576)] },
      /the tensor other\.weight/,
    ],
    [
      'an unknown weight',
      'unknown-tensor',
      { tensors: [f32('blk.0.extra.weight.lora_a', RANK, IN, 0)] },
      /"blk\.0\.extra\.weight"/,
    ],
    [
      'embeddings',
      'unsupported-option',
      { tensors: [f32('token_embd.weight.lora_a', RANK, IN, 0)] },
      /token_embd.*no LoRA of a linear layer/,
    ],
    [
      'a norm',
      'unsupported-option',
      { tensors: [f32('output_norm.weight.lora_a', RANK, IN, 0)] },
      /output_norm.*no LoRA of a linear layer/,
    ],
    ['A alone', 'malformed-file', { tensors: good.slice(0, 1) }, /attn_v\.weight\.lora_a has no counterpart/],
    [
      'B alone',
      'malformed-file',
      { tensors: good.slice(1).map((b) => ({ ...b, offset: 0 })) },
      /attn_v\.weight\.lora_b has no counterpart/,
    ],
    [
      'A of another width',
      'malformed-file',
      { tensors: [f32(`${NAME}.lora_a`, RANK, 16, 0), good[1]!] },
      /shapes \[3,16\] and \[16,3\]/,
    ],
    [
      'B of another rank',
      'malformed-file',
      { tensors: [good[0]!, f32(`${NAME}.lora_b`, OUT, 2, 384)] },
      /shapes \[3,32\] and \[16,2\]/,
    ],
  ])('is refused with %s', async (_, code, changes, message) => {
    await expectRejection(added(adapter(changes)), code, message)
  })

  test('of a weight that the model lacks is refused', () =>
    expectRejection(
      added(adapter(), new Map()),
      'malformed-file',
      /a LoRA of blk\.1\.attn_v\.weight, which the model lacks/,
    ))
})
