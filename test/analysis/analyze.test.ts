import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { analyzeAdapter, type LayerSpectrum } from '../../lib/analysis/index.js'
import { mora } from '../cli/mora.js'
import { goldenPath, readTensors } from '../golden/files.js'

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
  expect(svg).toContain('>q_proj</text>')

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
