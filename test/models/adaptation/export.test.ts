/** An exported LoRA changes weights as the adapter does. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { AdapterConfigBase } from '../../../lib/adapters/contract/adapter.js'
import { delora } from '../../../lib/adapters/methods/delora.js'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { analyzeAdapter } from '../../../lib/analysis/index.js'
import { randomStream } from '../../../lib/common/random.js'
import { readGguf } from '../../../lib/io/gguf.js'
import { exportAdapter } from '../../../lib/models/adaptation/export-adapter.js'
import { loadModel } from '../../../lib/models/index.js'
import { newAdapterOptions } from '../../../lib/options/index.js'
import { familyFolder } from '../../golden/families.js'
import { goldenPath, largestDifference, largestOf } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
const threads = 2
const untied = goldenPath('tiny-untied/model')

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const load = (path: string) => loadModel(path, { device: 'cpu', threads, dtype: 'float32' })

/** Saves an adapter with random values; single numbers, such as a bound, keep their initial value. */
async function randomAdapter(path: string, config: AdapterConfigBase): Promise<string> {
  const folder = join(temporary(), 'adapter')
  const random = randomStream(5, 'export')
  using model = await load(path)
  await model.addAdapter('x', config)
  for (const { parameter } of model.trainableParameters()) {
    if (parameter.elements === 1) continue
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
  }
  await model.saveAdapter('x', folder)
  return folder
}

/** The change ΔW of each weight, by the layer's name. */
async function changes(path: string, adapter: string): Promise<Map<string, Float32Array>> {
  using model = await load(path)
  const read = () => Promise.all(model.linears().map(({ weight }) => weight.data() as Promise<Float32Array>))
  const before = await read()
  await model.loadAdapter(adapter, 'x')
  await model.mergeAdapter('x')
  const after = await read()
  return new Map(
    model.linears().map(({ name }, i) => [name, after[i]!.map((value, at) => value - before[i]![at]!)] as const),
  )
}

const peftOf = (adapter: string) => JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8'))

const exact: [string, AdapterConfigBase, number][] = [
  ...(['sharing', 'sharing-grouped', 'sharing-grouped-in', 'sharing-grouped-out'] as const).map(
    (operator): [string, AdapterConfigBase, number] => [operator, mora({ rank: 3, operator }), Number.NaN],
  ),
  [
    'sharing with a scale, permuted',
    mora({ rank: 2, operator: 'sharing', scale: 0.5, permutation: { seed: 4, cycle: 2 } }),
    Number.NaN,
  ],
  ['lora', lora({ rank: 3, alpha: 5, rankPattern: { q_proj: 2 }, alphaPattern: { v_proj: 1 } }), 3],
  ...(['rslora', 'lora-plus', 'asylora', 'lora-fa'] as const).map((method): [string, AdapterConfigBase, number] => [
    method,
    newAdapterConfig(method, newAdapterOptions({ method, rank: 3 })),
    3,
  ]),
  ['delora', delora({ rank: 3, lambdaPattern: { v_proj: 2 } }), 3],
  ['pissa', newAdapterConfig('pissa', newAdapterOptions({ method: 'pissa', rank: 3 })), 6],
]

describe.each(exact)('%s as a LoRA of PEFT', (_, config, rank) => {
  test('is exact', async () => {
    const adapter = await randomAdapter(untied, config)
    const output = join(temporary(), 'lora')
    const result = await exportAdapter({ model: untied, adapter, output, format: 'peft', threads })
    expect(result).toMatchObject({ exact: true, relativeError: 0, layers: result.layerErrors.length })
    if (!Number.isNaN(rank)) expect(result.rank).toBe(rank)
    expect(peftOf(output)).toMatchObject({ peft_type: 'LORA', use_rslora: false, r: result.rank })
    // PEFT warns of what it does not know.
    expect(peftOf(output)).not.toHaveProperty('use_mora')
    const [given, got] = [await changes(untied, adapter), await changes(untied, output)]
    for (const [name, values] of given) {
      expect(largestOf(values), name).toBeGreaterThan(0.01)
      expect(largestDifference(got.get(name)!, values), name).toBeLessThan(2e-6 * Math.max(1, largestOf(values)))
    }
  })
})

test('modules trained whole go along into PEFT, and have no place in a GGUF adapter', async () => {
  const adapter = await randomAdapter(untied, lora({ rank: 2, modulesToSave: ['norms'] }))
  const output = join(temporary(), 'lora')
  await exportAdapter({ model: untied, adapter, output, format: 'peft', threads })
  using model = await load(untied)
  await model.loadAdapter(adapter, 'given')
  model.setActiveAdapters([])
  await model.loadAdapter(output, 'got')
  expect(model.trainableParameters().some(({ name }) => name.includes('norm'))).toBe(true)
  const file = join(temporary(), 'lora.gguf')
  await expect(exportAdapter({ model: untied, adapter, output: file, format: 'gguf-lora', threads })).rejects.toThrow(
    /A GGUF adapter has no place for model\..*norm/,
  )
})

describe('an adapter that is not a LoRA', () => {
  const rotation = mora({ rank: 4, operator: 'rotation' })

  test('is refused without a rank, and nothing is written', async () => {
    const adapter = await randomAdapter(untied, rotation)
    const output = join(temporary(), 'lora')
    await expect(exportAdapter({ model: untied, adapter, output, format: 'peft', threads })).rejects.toThrow(
      /mora with the operator rotation is not a LoRA: give approximateRank/,
    )
    expect(readdirSync(temporary())).toEqual(['adapter'])
  })

  test('becomes the nearest LoRA of a rank, and the error is that of the singular values left out', async () => {
    const adapter = await randomAdapter(untied, rotation)
    const output = join(temporary(), 'lora')
    const approximately = { model: untied, adapter, output, format: 'peft', approximateRank: 5, threads } as const
    await expect(exportAdapter(approximately)).rejects.toThrow(
      expect.objectContaining({
        code: 'another-adapter',
        message: expect.stringMatching(/rank 5 leaves out 0\.\d\d of/),
      }),
    )
    expect(readdirSync(temporary())).toEqual(['adapter'])
    const result = await exportAdapter({ ...approximately, force: true })
    expect(result).toMatchObject({ exact: false, rank: 5 })
    expect(result.relativeError).toBeGreaterThan(0.1)
    const [given, got] = [await changes(untied, adapter), await changes(untied, output)]
    const squares = (values: Iterable<number>) => [...values].reduce((sum, value) => sum + value ** 2, 0)
    let [lost, all] = [0, 0]
    for (const { name, relativeError } of result.layerErrors) {
      const values = given.get(name)!
      const missing = squares(got.get(name)!.map((value, i) => value - values[i]!))
      expect(Math.sqrt(missing / squares(values)), name).toBeCloseTo(relativeError, 4)
      lost += missing
      all += squares(values)
    }
    expect(result.relativeError).toBeCloseTo(Math.sqrt(lost / all), 4)
    const spectra = await analyzeAdapter({ model: untied, adapter, threads })
    for (const { name, singularValues } of spectra) {
      const error = Math.sqrt(squares(singularValues.slice(5)) / squares(singularValues))
      expect(result.layerErrors.find((layer) => layer.name === name)!.relativeError).toBeCloseTo(error, 5)
    }
  })

  test('of full rank, or a method whose ΔW depends on W, is approximated closely', async () => {
    const dora = newAdapterConfig('dora', newAdapterOptions({ method: 'dora', rank: 2 }))
    const adapter = await randomAdapter(untied, dora)
    const output = join(temporary(), 'lora')
    const result = await exportAdapter({
      model: untied,
      adapter,
      output,
      format: 'peft',
      approximateRank: 1000,
      threads,
    })
    expect(result.relativeError).toBeLessThan(1e-6)
    const [given, got] = [await changes(untied, adapter), await changes(untied, output)]
    for (const [name, values] of given) expect(largestDifference(got.get(name)!, values), name).toBeLessThan(1e-5)
  })
})

/** Row r of Hugging Face's queries and keys is row `order[r]` of GGUF's. */
function interleaved(rows: number, headSize: number): number[] {
  return Array.from({ length: rows }, (_, row) => {
    const inHead = row % headSize
    return row - inHead + 2 * (inHead % (headSize / 2)) + Math.floor(inHead / (headSize / 2))
  })
}

describe.each(['tiny-untied', 'gpt2', 'phi3', 'gemma2'])('%s in GGUF', (name) => {
  const path = name === 'tiny-untied' ? untied : familyFolder(name)

  test.each(['float32', 'float16'] as const)('factors in %s multiply to ΔW', async (dtype) => {
    const config = mora({ rank: 2, operator: 'sharing-grouped-in', scale: 2 })
    const adapter = await randomAdapter(path, config)
    const output = join(temporary(), 'lora.gguf')
    await exportAdapter({ model: path, adapter, output, format: 'gguf-lora', dtype, threads })
    const { metadata, tensors } = await readGguf(output)
    expect(metadata.get('general.type')).toBe('adapter')
    expect(metadata.get('adapter.type')).toBe('lora')
    const alpha = metadata.get('adapter.lora.alpha') as number
    const bytes = readFileSync(output)
    const valuesOf = (tensor: string) => {
      const { offset, bytes: length, shape, dtype: stored } = tensors.get(tensor)!
      expect(stored).toBe(dtype)
      const raw = Uint8Array.from(bytes.subarray(offset, offset + length)).buffer
      return { shape, values: dtype === 'float32' ? new Float32Array(raw) : halves(new Uint16Array(raw)) }
    }
    using model = await load(path)
    const deltas = await changes(path, adapter)
    expect(tensors.size).toBe(2 * deltas.size)
    const [key] = ['blk.1.attn_q.weight', 'blk.1.attn_qkv.weight'].filter((one) => tensors.has(`${one}.lora_a`))
    const layer = model.linears().find((one) => /1\.(self_attn\.(q|qkv)_proj|attn\.c_attn)$/.test(one.name))!.name
    const [a, b] = [valuesOf(`${key}.lora_a`), valuesOf(`${key}.lora_b`)]
    const [rank, width] = a.shape as [number, number]
    const rows = b.shape[0]!
    const order = name === 'tiny-untied' ? interleaved(rows, model.config.headSize) : undefined
    const scale = alpha === 0 ? 1 : alpha / rank
    const product = Float32Array.from({ length: rows * width }, (_, at) => {
      const row = Math.floor(at / width)
      const stored = order ? order[row]! : row
      let sum = 0
      for (let i = 0; i < rank; i++) sum += b.values[stored * rank + i]! * a.values[i * width + (at % width)]!
      return scale * sum
    })
    const tolerance = dtype === 'float32' ? 1e-5 : 2e-3
    expect(largestDifference(product, deltas.get(layer)!)).toBeLessThan(tolerance)
  })
})

function halves(bits: Uint16Array): Float32Array {
  return Float32Array.from(bits, (value) => {
    const [exponent, fraction] = [(value >>> 10) & 31, value & 1023]
    const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
    return value & 0x8000 ? -magnitude : magnitude
  })
}
