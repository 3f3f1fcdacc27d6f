/** Importance matrices: sums in float64 over layers' inputs, and llama.cpp's files. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { importanceMatrix } from '../../lib/eval/index.js'
import { readGguf } from '../../lib/io/gguf.js'
import { type GgufEntry, type GgufField, ggufText, list, writeGguf } from '../../lib/io/gguf-writer.js'
import { initModel, loadModel, type Model } from '../../lib/models/index.js'
import { importanceFor, readImportance } from '../../lib/models/quantise/importance.js'
import { native, type WrittenBlocks } from '../../lib/native/addon.js'
import { LinearGroup } from '../../lib/nn/linear.js'
import type { LinearInput } from '../../lib/nn/linear-input.js'
import { goldenJson } from '../golden/files.js'
import { quickFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = quickFolder()
const at = (name: string) => join(folder, name)
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const rows = [
  [3, 17, 250, 9, 44, 8, 120, 7],
  [5, 6, 7, 8, 9, 10, 11, 12, 13],
  [200, 3, 100],
]
const tokens = rows.flat().length
let model: Model

beforeAll(async () => {
  const { torch_dtype: _, ...tiny } = goldenJson<Record<string, unknown>>('tiny-untied/model/config.json')
  const sizes = {
    hidden_size: 256,
    intermediate_size: 512,
    head_dim: 64,
    num_hidden_layers: 2,
    initializer_range: 0.08,
  }
  writeFileSync(at('config.json'), JSON.stringify({ ...tiny, ...sizes }))
  writeFileSync(at('rows.jsonl'), rows.map((input_ids) => `${JSON.stringify({ input_ids })}\n`).join(''))
  model = await initModel(at('config.json'), { device, dtype: 'float32', seed: 3 })
})
afterAll(() => {
  model.dispose()
  rmSync(folder, { recursive: true })
  expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0)
})

/** The inputs of each group of layers, a copy for each forward pass, by the first layer's name. */
async function inputsOf(run: () => Promise<unknown>): Promise<Map<string, Float32Array[]>> {
  const reading: Promise<unknown>[] = []
  const inputs = new Map<string, Float32Array[]>()
  for (const layer of model.linears()) inputs.set(layer.name, [])
  const { forward } = LinearGroup.prototype
  const keep = (name: string, x: LinearInput['x']) =>
    reading.push(x.data().then((values) => inputs.get(name)!.push(values as Float32Array)))
  const group = vi.spyOn(LinearGroup.prototype, 'forward').mockImplementation(function (this: LinearGroup, input) {
    keep(this.layers[0]!.name, input.x)
    return forward.call(this, input)
  })
  const single = model.linears().map((layer) => {
    const own = layer.forward.bind(layer)
    return vi.spyOn(layer, 'forward').mockImplementation((input) => {
      keep(layer.name, input.x)
      return own(input)
    })
  })
  try {
    await run()
    await Promise.all(reading)
  } finally {
    for (const spy of [group, ...single]) spy.mockRestore()
  }
  return inputs
}

const matrix = (name: string, more: object = {}) =>
  importanceMatrix(model, { data: at('rows.jsonl'), batchSize: 2, output: at(name), ...more })

describe('the matrix of a model', () => {
  test("has the sums of squares of each layer's inputs, and the number of tokens", async () => {
    const inputs = await inputsOf(async () => {
      expect(await matrix('imatrix.gguf')).toEqual({ output: at('imatrix.gguf'), weights: 14, tokens, chunks: 3 })
    })
    const { metadata, tensors } = await readGguf(at('imatrix.gguf'))
    expect(Object.fromEntries(metadata)).toEqual({
      'general.type': 'imatrix',
      'imatrix.datasets': ['rows.jsonl'],
      'imatrix.chunk_count': 3,
      'imatrix.chunk_size': 9,
    })
    expect(tensors.size).toBe(28)
    const { columns } = await readImportance(at('imatrix.gguf'))
    for (const [stem, layer] of [
      ['attn_q', 'self_attn.q_proj'],
      ['attn_k', 'self_attn.q_proj'],
      ['attn_v', 'self_attn.q_proj'],
      ['attn_output', 'self_attn.o_proj'],
      ['ffn_gate', 'mlp.gate_proj'],
      ['ffn_up', 'mlp.gate_proj'],
      ['ffn_down', 'mlp.down_proj'],
    ]) {
      for (const block of [0, 1]) {
        const name = `blk.${block}.${stem}.weight`
        const passes = inputs.get(`model.layers.${block}.${layer}`)!
        expect(passes.length).toBe(2)
        const means = columns.get(name)!
        const wanted = new Float64Array(means.length)
        for (const values of passes)
          for (const [i, value] of values.entries()) wanted[i % means.length]! += (value * value) / tokens
        for (const [column, mean] of means.entries())
          expect(Math.abs(mean / wanted[column]! - 1), `${name} ${column}`).toBeLessThan(2e-6)
        expect(tensors.get(`${name}.in_sum2`)!.shape).toEqual([1, means.length])
        expect(tensors.get(`${name}.counts`)!.shape).toEqual([1, 1])
      }
    }
    expect(model.linears().every(({ observer }) => observer === null)).toBe(true)
  })

  test('replaces a file only where overwrite says so, and never one that it reads', async () => {
    writeFileSync(at('kept.gguf'), 'kept')
    await expect(matrix('kept.gguf')).rejects.toMatchObject({ code: 'output-exists' })
    await expect(matrix('rows.jsonl', { overwrite: true })).rejects.toMatchObject({ code: 'unfit-options' })
    expect(readFileSync(at('kept.gguf'), 'utf8')).toBe('kept')
    expect(await matrix('kept.gguf', { overwrite: true })).toMatchObject({ output: at('kept.gguf') })
  })

  test('includes the active adapters, and hardly depends on how rows are batched', async () => {
    await matrix('alone.gguf', { batchSize: 1 })
    const [together, alone] = [await readImportance(at('imatrix.gguf')), await readImportance(at('alone.gguf'))]
    const name = 'blk.1.ffn_down.weight'
    const apart = (a: Float32Array, b: Float32Array) =>
      a.reduce((most, value, i) => Math.max(most, Math.abs(value / b[i]! - 1)), 0)
    expect(apart(together.columns.get(name)!, alone.columns.get(name)!)).toBeLessThan(1e-4)
    await model.addAdapter('x', lora({ rank: 2 }))
    for (const { parameter } of model.trainableParameters())
      parameter.assign(new Float32Array(parameter.elements).fill(0.05))
    await matrix('adapted.gguf', { limit: 2 })
    model.removeAdapter('x')
    const adapted = await readImportance(at('adapted.gguf'))
    expect(adapted.chunks).toBe(2)
    expect(apart(adapted.columns.get(name)!, alone.columns.get(name)!)).toBeGreaterThan(0.1)
  })
})

async function blocksOf(path: string) {
  const file = readFileSync(path)
  const { tensors, metadata } = await readGguf(path)
  const bytes = (name: string) => {
    const { offset, bytes } = tensors.get(name)!
    return Uint8Array.from(file.subarray(offset, offset + bytes))
  }
  return { tensors, metadata, bytes }
}

describe('quantising by it', () => {
  test('gives each weight its columns, chooses formats by it, and says so', async () => {
    const { columns } = await readImportance(at('imatrix.gguf'))
    await model.save(at('floats.gguf'), { dtype: 'float32' })
    await model.save(at('plain.gguf'), { dtype: 'q4_k_m' })
    await model.save(at('weighted.gguf'), { dtype: 'q4_k_m', imatrix: at('imatrix.gguf') })
    const [floats, plain, weighted] = await Promise.all(
      ['floats', 'plain', 'weighted'].map((name) => blocksOf(at(`${name}.gguf`))),
    )
    let quantised = 0
    for (const [name, { dtype, shape }] of weighted!.tensors) {
      if (shape.length === 1) continue
      const values = new Float32Array(floats!.bytes(name).buffer)
      const own = columns.get(name) ?? null
      expect(own === null, name).toBe(!name.startsWith('blk.'))
      expect(weighted!.bytes(name), name).toEqual(native.quantise(dtype as WrittenBlocks, values, shape[1]!, own, 1))
      if (own) expect(weighted!.bytes(name), name).not.toEqual(plain!.bytes(name))
      quantised++
    }
    expect(quantised).toBe(16)
    expect(Object.fromEntries([...weighted!.metadata].filter(([key]) => key.startsWith('quantize.')))).toEqual({
      'quantize.imatrix.file': 'imatrix.gguf',
      'quantize.imatrix.dataset': 'rows.jsonl',
      'quantize.imatrix.entries_count': 14,
      'quantize.imatrix.chunks_count': 3,
    })
    expect([...plain!.metadata.keys()].some((key) => key.startsWith('quantize.'))).toBe(false)
    await model.save(at('linears.gguf'), { quantise: 'q4_0', dtype: 'bfloat16', imatrix: at('imatrix.gguf') })
    const linears = await blocksOf(at('linears.gguf'))
    const name = 'blk.0.attn_q.weight'
    const values = new Float32Array(floats!.bytes(name).buffer)
    expect(linears.bytes(name)).toEqual(native.quantise('q4_0', values, 256, columns.get(name)!, 1))
    using again = await loadModel(at('linears.gguf'), { device, dtype: 'float32', quantised: true })
    expect(again.quantised).toMatchObject({ format: 'q4_0' })
  })

  test('weights without an importance are quantised without it, and named', async () => {
    const [name, other] = ['blk.0.attn_q.weight', 'blk.0.attn_k.weight']
    const { columns } = await readImportance(at('imatrix.gguf'))
    await writeMatrix('part.gguf', { [name]: columns.get(name)!, 'token_embd.weight': new Float32Array(7) })
    const told: string[] = []
    const found = await importanceFor(model.config, at('part.gguf'), (message) => told.push(message))
    expect([...found.columns.keys()]).toEqual([name])
    expect(told).toEqual([
      `${at('part.gguf')} has no importance of 13 of 14 linear layers, ${other} among them; they are quantised without.`,
    ])
    await model.save(at('part-of.gguf'), { dtype: 'q4_0', imatrix: at('part.gguf') })
    const [part, floats] = [await blocksOf(at('part-of.gguf')), await blocksOf(at('floats.gguf'))]
    const values = (of: string) => new Float32Array(floats.bytes(of).buffer)
    expect(part.bytes(name)).toEqual(native.quantise('q4_0', values(name), 256, columns.get(name)!, 1))
    expect(part.bytes(other)).toEqual(native.quantise('q4_0', values(other), 256, null, 1))
  })
})

/** A GGUF file of one count, 1, for each weight. */
async function writeMatrix(
  name: string,
  sums: Record<string, Float32Array>,
  more: [string, GgufField][] = [],
  counts = 1,
) {
  const entries = Object.entries(sums).flatMap(([weight, values]): GgufEntry[] => [
    { name: `${weight}.in_sum2`, dtype: 'float32', shape: [1, values.length], data: async () => bytesOf(values) },
    { name: `${weight}.counts`, dtype: 'float32', shape: [1, 1], data: async () => bytesOf(Float32Array.of(counts)) },
  ])
  await writeGguf(at(name), new Map([['general.type', ggufText('imatrix')], ...more]), entries)
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.slice().buffer)

/** A file in llama.cpp's older format. */
function olderFile(name: string, entries: [weight: string, calls: number, values: number[]][], end?: [number, string]) {
  const int = (value: number) => Buffer.from(Int32Array.of(value).buffer)
  const string = (value: string) => Buffer.concat([int(value.length), Buffer.from(value)])
  const parts = entries.flatMap(([weight, calls, values]) => [
    string(weight),
    int(calls),
    int(values.length),
    Buffer.from(Float32Array.from(values).buffer),
  ])
  writeFileSync(at(name), Buffer.concat([int(entries.length), ...parts, ...(end ? [int(end[0]), string(end[1])] : [])]))
}

describe('files', () => {
  test("llama.cpp's older format is read", async () => {
    olderFile(
      'older.dat',
      [
        ['blk.0.attn_q.weight', 4, [4, 2, 0, 1]],
        ['blk.0.ffn_up.weight', 0, [3]],
      ],
      [7, 'wiki.raw'],
    )
    expect(await readImportance(at('older.dat'))).toEqual({
      columns: new Map([
        ['blk.0.attn_q.weight', Float32Array.of(1, 0.5, 0, 0.25)],
        ['blk.0.ffn_up.weight', Float32Array.of(3)],
      ]),
      datasets: ['wiki.raw'],
      chunks: 7,
    })
    olderFile('shorter.dat', [['a', 1, [2]]])
    expect(await readImportance(at('shorter.dat'))).toEqual({
      columns: new Map([['a', Float32Array.of(2)]]),
      datasets: [],
      chunks: 0,
    })
  })

  test('all columns of a weight that no token reached are equally important', async () => {
    await writeMatrix(
      'unused.gguf',
      { a: Float32Array.of(0, 0) },
      [['imatrix.datasets', list('string', ['one', 'two'])]],
      0,
    )
    expect(await readImportance(at('unused.gguf'))).toMatchObject({
      columns: new Map([['a', Float32Array.of(1, 1)]]),
      datasets: ['one', 'two'],
    })
  })

  const malformed = (path: string) => expect(readImportance(at(path))).rejects.toMatchObject({ code: 'malformed-file' })
  test('other files are refused in a sentence', async () => {
    await expect(readImportance(at('absent'))).rejects.toMatchObject({ code: 'missing-file' })
    await expect(readImportance(at('floats.gguf'))).rejects.toThrow(
      /not an importance matrix: its general.type is "model"/,
    )
    await malformed('config.json')
    olderFile('negative.dat', [['a', 1, [1, -2]]])
    await expect(readImportance(at('negative.dat'))).rejects.toThrow(/importance of column 1 of "a" is -2/)
    olderFile('endless.dat', [['a', 1, [Number.POSITIVE_INFINITY]]])
    await malformed('endless.dat')
    olderFile('empty.dat', [])
    await expect(readImportance(at('empty.dat'))).rejects.toThrow(/no importance of any weight/)
    olderFile('cut.dat', [['abc', 1, [1, 2, 3]]])
    const whole = readFileSync(at('cut.dat'))
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(at('cut.dat'), whole.subarray(0, length))
      await malformed('cut.dat')
    }
    await writeGguf(at('sums.gguf'), new Map([['general.type', ggufText('imatrix')]]), [
      { name: 'a.in_sum2', dtype: 'float32', shape: [1, 1], data: async () => bytesOf(Float32Array.of(1)) },
    ])
    await expect(readImportance(at('sums.gguf'))).rejects.toThrow(/no values "a.counts"/)
  })

  test('a matrix of another model is refused, and one that nothing would use', async () => {
    await writeMatrix('other.gguf', { 'blk.0.attn_q.weight': new Float32Array(64) })
    await writeMatrix('none.gguf', { 'blk.9.attn_q.weight': new Float32Array(64) })
    const save = (output: string, form: object) => model.save(at(output), form)
    await expect(save('x.gguf', { dtype: 'q4_0', imatrix: at('other.gguf') })).rejects.toThrow(
      /importance of 64 columns of blk.0.attn_q.weight, which has 256/,
    )
    await expect(save('x.gguf', { dtype: 'q4_0', imatrix: at('none.gguf') })).rejects.toThrow(/of none of the model's/)
    await expect(save('x.gguf', { imatrix: at('imatrix.gguf') })).rejects.toThrow(
      /imatrix needs quantise, or a mixture/,
    )
    mkdirSync(at('x'))
    await expect(save('x', { quantise: 'nf4', imatrix: at('imatrix.gguf') })).rejects.toThrow(
      /imatrix .* is for blocks of GGUF files/,
    )
  })
})
