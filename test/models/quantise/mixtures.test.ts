/**
 * GGUF files of mixed block formats. `npm run check llama-cpp` compares them with those of llama.cpp's own quantiser, byte for byte.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readGguf } from '../../../lib/io/gguf.js'
import { GGUF_MIXTURES, type GgufMixture } from '../../../lib/models/formats.js'
import { initModel, loadModel } from '../../../lib/models/index.js'
import { formatInMixture } from '../../../lib/models/quantise/mixtures.js'
import { goldenJson, largestDifference } from '../../golden/files.js'
import { logProbsOf } from '../../golden/tiny-models.js'
import { quickFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

/** A Llama with 32 layers, as of 7B. */
const llama = { layers: 32, heads: 32, keyValueHeads: 32, tiedEmbeddings: false, weighted: false }
const manyBits = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
const layersIn = (mixture: GgufMixture, stem: string, format: string, facts = llama, columns = 4096) =>
  Array.from({ length: facts.layers }, (_, layer) => layer).filter(
    (layer) => formatInMixture(mixture, `blk.${layer}.${stem}.weight`, columns, facts) === format,
  )
const all = Array.from({ length: 32 }, (_, layer) => layer)

describe("llama.cpp's rules", () => {
  test('Q4_K_M and Q5_K_M have more bits for values and the way down in half of the layers, and for the head', () => {
    for (const [mixture, main] of [
      ['q4_k_m', 'q4_k'],
      ['q5_k_m', 'q5_k'],
    ] as const) {
      for (const stem of ['attn_v', 'ffn_down', 'attn_qkv']) {
        expect(layersIn(mixture, stem, 'q6_k'), stem).toEqual(manyBits)
        expect(layersIn(mixture, stem, main).length, stem).toBe(16)
      }
      for (const stem of ['attn_q', 'attn_k', 'attn_output', 'ffn_up', 'ffn_gate'])
        expect(layersIn(mixture, stem, main), stem).toEqual(all)
      expect(formatInMixture(mixture, 'output.weight', 4096, llama)).toBe('q6_k')
      expect(formatInMixture(mixture, 'token_embd.weight', 4096, llama)).toBe(main)
      expect(formatInMixture(mixture, 'token_embd.weight', 4096, { ...llama, tiedEmbeddings: true })).toBe('q6_k')
    }
  })

  test('IQ4_XS has more bits where heads share values, and in early ways down unless importance is known', () => {
    expect(layersIn('iq4_xs', 'attn_v', 'iq4_xs')).toEqual(all)
    expect(layersIn('iq4_xs', 'attn_v', 'q5_k', { ...llama, keyValueHeads: 8 })).toEqual(all)
    expect(layersIn('iq4_xs', 'ffn_down', 'q5_k')).toEqual([0, 1, 2, 3])
    expect(layersIn('iq4_xs', 'ffn_down', 'iq4_xs', { ...llama, weighted: true })).toEqual(all)
  })

  test('Q4_0 has minima in early ways down where importance is known', () => {
    expect(layersIn('q4_0', 'ffn_down', 'q4_0')).toEqual(all)
    expect(layersIn('q4_0', 'ffn_down', 'q4_1', { ...llama, weighted: true })).toEqual([0, 1, 2, 3])
    expect(formatInMixture('q4_0', 'output.weight', 4096, llama)).toBe('q6_k')
  })

  test('of 70B, values that eight heads share have five bits at least', () => {
    const large = { ...llama, layers: 80, heads: 64, keyValueHeads: 8 }
    expect(layersIn('q4_k_m', 'attn_v', 'q5_k', large, 8192).length).toBe(40)
    expect(layersIn('q4_k_m', 'attn_v', 'q6_k', large, 8192).length).toBe(40)
  })

  test('rows that fill no blocks of 256 have blocks of 32, and those that fill none are float16', () => {
    const of = (mixture: GgufMixture, columns: number, name = 'blk.5.attn_q.weight') =>
      formatInMixture(mixture, name, columns, llama)
    expect(GGUF_MIXTURES.map((mixture) => of(mixture, 576))).toEqual(['q8_0', 'q8_0', 'q5_1', 'q5_0', 'iq4_nl', 'q4_0'])
    expect(GGUF_MIXTURES.map((mixture) => of(mixture, 172))).toEqual(GGUF_MIXTURES.map(() => 'float16'))
    expect(GGUF_MIXTURES.map((mixture) => of(mixture, 576, 'output.weight'))).toEqual(GGUF_MIXTURES.map(() => 'q8_0'))
  })
})

describe('a file', () => {
  const folder = quickFolder()
  const kind = process.env.MORA_TEST_DEVICE ?? 'cpu'
  const sequences = [[3, 17, 250, 9, 44, 8, 120, 7]]
  const config = join(folder, 'config.json')
  beforeAll(() => {
    const { torch_dtype: _, ...tiny } = goldenJson<Record<string, unknown>>('tiny-untied/model/config.json')
    const sizes = { hidden_size: 256, intermediate_size: 512, head_dim: 64, num_hidden_layers: 3 }
    writeFileSync(config, JSON.stringify({ ...tiny, ...sizes, initializer_range: 0.05 }))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true })
    expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0)
  })

  test.each([
    ['q8_0', 7, ['q8_0', 'q8_0', 'q8_0', 'q8_0'], 0.05],
    ['q6_k', 18, ['q6_k', 'q6_k', 'q6_k', 'q6_k'], 0.2],
    ['q5_k_m', 17, ['q5_k', 'q5_k', 'q6_k', 'q6_k'], 0.35],
    ['q4_k_m', 15, ['q4_k', 'q4_k', 'q6_k', 'q6_k'], 0.6],
    ['iq4_xs', 30, ['iq4_xs', 'iq4_xs', 'iq4_xs', 'q6_k'], 0.7],
    ['q4_0', 2, ['q4_0', 'q4_0', 'q4_0', 'q6_k'], 1],
  ] as const)(
    '%s has the formats of its rules, says so, and computes nearly the same',
    async (mixture, type, formats, near) => {
      using model = await initModel(config, { device: kind, dtype: 'float32', seed: 3 })
      const path = join(folder, `${mixture}.gguf`)
      await model.save(path, { dtype: mixture })
      const { tensors, metadata } = await readGguf(path)
      const names = ['token_embd', 'blk.1.attn_q', 'blk.2.ffn_down', 'output']
      expect(names.map((name) => tensors.get(`${name}.weight`)!.dtype)).toEqual(formats)
      expect(tensors.get('blk.0.attn_norm.weight')!.dtype).toBe('float32')
      expect(metadata.get('general.file_type')).toBe(type)
      using again = await loadModel(path, { device: kind, dtype: 'float32' })
      const [got, wanted] = [(await logProbsOf(again, sequences)).flat(), (await logProbsOf(model, sequences)).flat()]
      expect(largestDifference(got, wanted)).toBeLessThan(near)
      expect(largestDifference(got, wanted)).toBeGreaterThan(1e-4)
    },
  )
})
