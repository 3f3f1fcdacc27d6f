import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  analyzeAdapter,
  analyzeModels,
  type LayerSpectrum,
  type Spectrum,
  spectraByKind,
} from '../../lib/analysis/index.js'
import { mergeModel } from '../../lib/models/index.js'
import { mora } from '../cli/mora.js'
import { goldenJson, goldenPath, lacksGolden, largestDifference, readTensors } from '../golden/files.js'
import { needing } from '../needs.js'

const model = goldenPath('tiny-untied/model')
const adapterOf = (name: string) => goldenPath(`tiny-untied/adapters/${name}`)
/** The rounding error of float32 weights plus and minus ΔW. */
const noise = 1e-5

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-analyze-'))
})
afterAll(() => rm(folder, { recursive: true }))

const rankOf = ({ singularValues }: LayerSpectrum) => singularValues.filter((value) => value > noise).length

test('ΔW of LoRA has its rank', async () => {
  const layers = await analyzeAdapter({ model, adapter: adapterOf('lora') })
  const { r } = JSON.parse(await readFile(join(adapterOf('lora'), 'adapter_config.json'), 'utf8'))
  expect(layers.length).toBeGreaterThan(0)
  expect(layers.map(rankOf)).toEqual(layers.map(() => r))
  for (const { effectiveRank } of layers) expect(effectiveRank).toBeLessThan(r * 1.01)
})

test('ΔW of sharing has at most rank R, of rotation more than LoRA at its budget', async () => {
  const matrices = readTensors(join(adapterOf('sharing'), 'adapter_model.safetensors'))
  for (const layer of await analyzeAdapter({ model, adapter: adapterOf('sharing') })) {
    const [side] = matrices.get(`base_model.model.${layer.name}.lora_A.weight`)!.shape
    expect(side, 'R, below the full rank').toBeLessThan(Math.min(layer.inFeatures, layer.outFeatures))
    expect(rankOf(layer)).toBeGreaterThan(0)
    expect(rankOf(layer)).toBeLessThanOrEqual(side!)
  }
  const { r } = JSON.parse(await readFile(join(adapterOf('rotation'), 'adapter_config.json'), 'utf8'))
  for (const layer of await analyzeAdapter({ model, adapter: adapterOf('rotation') })) {
    expect(rankOf(layer)).toBeGreaterThan(r)
  }
})

describe('two models', () => {
  interface GoldenPair {
    before: string
    after: string
    threshold: number
    layers: {
      layer: string
      shape: [number, number]
      above: number
      effectiveRank: number
      largest: number
      frobenius: number
      singularValues: number[]
    }[]
    kinds: Record<string, { above: number; effectiveRank: number; largest: number; frobenius: number }>
  }
  const { pairs } = goldenJson<{ pairs: GoldenPair[] }>('baselines/spectra.json')
  const pathOf = (name: string) => (name === 'tiny-untied/model' ? name : `baselines/${name}`)

  for (const pair of pairs) {
    const [before, after] = [pathOf(pair.before), pathOf(pair.after)]
    needing(lacksGolden(before) ?? lacksGolden(after)).test(
      `${pair.after} against ${pair.before}: singular values, counts and means of kinds of a decomposition in float64`,
      async () => {
        const { threshold } = pair
        const spectra = await analyzeModels({ model: goldenPath(after), base: goldenPath(before), threshold })
        expect(spectra.map(({ name }) => name).sort()).toEqual(pair.layers.map(({ layer }) => layer).sort())
        for (const golden of pair.layers) {
          const got = spectra.find(({ name }) => name === golden.layer)!
          expect([got.outFeatures, got.inFeatures]).toEqual(golden.shape)
          const distance = largestDifference(got.singularValues, golden.singularValues)
          expect(distance, golden.layer).toBeLessThanOrEqual(1e-6 * golden.largest)
          expectFigures(got, golden, golden.layer)
        }
        const kinds = spectraByKind(spectra)
        expect(Object.keys(kinds).sort()).toEqual(Object.keys(pair.kinds).sort())
        for (const [kind, golden] of Object.entries(pair.kinds)) expectFigures(kinds[kind]!, golden, kind)
      },
    )
  }

  function expectFigures(got: Omit<Spectrum, 'singularValues'>, golden: GoldenPair['kinds'][string], at: string): void {
    expect(got.aboveThreshold, at).toBeCloseTo(golden.above, 12)
    expect(Math.abs(got.effectiveRank - golden.effectiveRank), at).toBeLessThan(1e-4)
    expect(Math.abs(got.spectralNorm - golden.largest), at).toBeLessThanOrEqual(1e-6 * golden.largest)
    expect(Math.abs(got.frobeniusNorm - golden.frobenius), at).toBeLessThanOrEqual(1e-6 * golden.frobenius)
  }

  const run = (...options: string[]) => mora('analyze', '--model', model, ...options)

  test('a model that an adapter was merged into changes as the adapter says', async () => {
    const [adapter, merged] = [adapterOf('rotation'), join(folder, 'merged')]
    await mergeModel({ model, adapter, output: merged, dtype: 'float32', device: 'cpu' })
    const { stdout } = await mora('analyze', '--model', merged, '--base', model, '--json')
    const { kinds, layers } = JSON.parse(stdout) as { kinds: object; layers: LayerSpectrum[] }
    expect(Object.keys(kinds)).toEqual(['q', 'k', 'v', 'o', 'gate', 'up', 'down'])
    for (const { name, singularValues } of await analyzeAdapter({ model, adapter })) {
      const got = layers.find((layer) => layer.name === name)!
      expect(largestDifference(got.singularValues, singularValues), name).toBeLessThan(1e-6)
    }
  })

  test('of different shapes are refused in one sentence, before a weight is read', async () => {
    const other = goldenPath('tiny-tied-llama3-rope/model')
    const { exitCode, stderr } = await run('--base', other)
    expect(exitCode).toBe(2)
    expect(stderr).toMatch(
      /^mora: Only models of one shape can be compared, but model\.layers\.0\.\S+ is 64 × 64 in .* and 48 × 48 in .*\.$/m,
    )
  })

  test.each([
    [[], 'Missing --adapter or --base'],
    [['--base', model, '--adapter', adapterOf('rotation')], '--base does not go with --adapter'],
    [['--base', model, '--allow-other-base'], '--base does not go with --allow-other-base'],
  ])('or an adapter are needed, and nothing else: %s', async (options, message) => {
    const { exitCode, stderr } = await run(...options)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(message)
  })
})

test('mora analyze counts, prints and plots', async () => {
  const run = (...options: string[]) =>
    mora('analyze', '--model', model, '--adapter', adapterOf('rotation'), ...options)
  const plot = join(folder, 'spectra.svg')
  const { exitCode, stdout } = await run('--plot', plot, '--threshold', '0.01')
  expect(exitCode).toBe(0)
  expect(stdout).toMatch(/layer +shape +above 0\.01/)
  expect(stdout).toMatch(/model\.layers\.0\.self_attn\.q_proj/)
  const svg = await readFile(plot, 'utf8')
  expect(svg.match(/<polyline/g)).toHaveLength(7)
  expect(svg).toContain('>q</text>')

  const json = JSON.parse((await run('--json')).stdout)
  expect(json.threshold).toBe(0.1)
  for (const { singularValues, aboveThreshold } of json.layers)
    expect(aboveThreshold).toBe(singularValues.filter((value: number) => value > 0.1).length)
})

test('asks for a model that is not found', async () => {
  const { exitCode, stderr } = await mora('analyze', '--adapter', adapterOf('rotation'))
  expect(exitCode).toBe(2)
  expect(stderr).toMatch(/--model is needed/)
})
