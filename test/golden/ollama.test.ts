/** Models that Ollama stores, by their names, with the adapters of their manifests. */
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import type { MoraError } from '../../lib/common/errors.js'
import { readGguf } from '../../lib/io/gguf.js'
import { loadModel, mergeModel } from '../../lib/models/index.js'
import { loadTokenizer } from '../../lib/text/tokenizer.js'
import { assetPath } from '../assets.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { loadFamily } from './families.js'
import { goldenJson, goldenPath, lacksGolden, largestDifference } from './files.js'
import { logProbsOf } from './tiny-models.js'

interface Expected {
  readonly sequences: number[][]
  readonly names: Record<string, { logprobs: 'base' | 'lora' }>
  readonly bad: Record<string, string>
  readonly logprobs: Record<'base' | 'lora', number[][]>
}

const { sequences, names, bad, logprobs } = goldenJson<Expected>('ollama/expected.json')
/** Float32, as the golden data's README says: 2e-6, and ten times that is allowed. */
const TOLERANCE = 2e-5

const at = useTemporaryFolder()
beforeEach(() => void vi.stubEnv('OLLAMA_MODELS', goldenPath('ollama/models')))
afterAll(() => {
  vi.unstubAllEnvs()
  expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0)
})

async function expectLogProbs(path: string, of: 'base' | 'lora', tolerance = TOLERANCE): Promise<void> {
  using model = await loadFamily(path)
  const got = await logProbsOf(model, sequences)
  expect(largestDifference(got.flat(), logprobs[of].flat())).toBeLessThan(tolerance)
}

const refusals: Record<string, [code: string, message: RegExp]> = {
  'bad:blob-missing': ['missing-file', /bad\/blob-missing has its model in .*sha256-fc22\w+, which does not exist/],
  'bad:cut': ['malformed-file', /^ollama:bad:cut: .*sha256-9d74\w+ is malformed/],
  'bad:size': ['malformed-file', /bad\/size is malformed: its model has 52225 bytes, but .* has 52224/],
  'bad:digest': ['malformed-file', /sha256-48dd\w+ is malformed: its SHA-256 is /],
  'bad:no-model': ['not-a-model', /^ollama:bad:no-model .*: its manifest has no layer with a model\.$/],
  'bad:path': ['malformed-file', /bad\/path is malformed: .*layers\[0\]\.digest: expected sha256: and 64 hex/],
  'bad:not-json': ['malformed-json', /bad\/not-json is not valid JSON/],
  'bad:tensors': ['unsupported-format', /^ollama:bad:tensors is stored tensor by tensor as safetensors/],
  'bad:remote': ['not-a-model', /^ollama:bad:remote .*: it runs at "https:\/\/example\.org"\.$/],
  nothing: ['missing-file', /^Ollama has no model nothing:latest of registry\.ollama\.ai\/library in /],
  'tiny:other': ['missing-file', /no model tiny:other .*`ollama pull tiny:other`/],
  '../../secret': ['bad-value', /^"ollama:\.\.\/\.\.\/secret" is no name of Ollama's/],
}

describe('a model that Ollama stores', () => {
  for (const [name, { logprobs: of }] of Object.entries(names))
    test(`${name} loads`, () => expectLogProbs(`ollama:${name}`, of))

  test('has a refusal for each bad one but that with a projector, whose text part loads', () =>
    expect(Object.keys(bad).filter((name) => name !== 'bad:projector')).toEqual(Object.keys(refusals)))

  for (const [name, [code, message]] of Object.entries(refusals)) {
    const whole = name === 'bad:digest'
    needing(whole ? lacksGolden('families3/ollama') : null).test(`${name} is refused`, async () => {
      if (whole) vi.stubEnv('OLLAMA_MODELS', assetPath('golden/families3/ollama/models'))
      const error = await loadModel(`ollama:${name}`, { device: 'cpu' }).then(
        (model) => model.dispose(),
        (reason: MoraError) => reason,
      )
      expect(error?.message).toMatch(message)
      expect(error?.code).toBe(code)
    })
  }

  test('tells once what is not used of it', async () => {
    const told: string[] = []
    const load = async (name: string) =>
      (await loadModel(name, { device: 'cpu', onWarning: (message) => told.push(message) })).dispose()
    await load('ollama:tiny')
    await load('ollama:bad:projector')
    await load('ollama:tiny:bare')
    expect(told).toEqual([
      expect.stringMatching(/^ollama:tiny: what Ollama stores .* is not used \(template, system message, parameters; /),
      'ollama:bad:projector: its projector of images is not read: this is the text model alone.',
    ])
  })

  test('has its tokenizer', async () => {
    const tokenizer = (await loadTokenizer('ollama:tiny'))!
    expect(await tokenizer.encodeText('Si ke sonano')).toEqual(
      await (await loadTokenizer('ollama:list'))!.encodeText('Si ke sonano'),
    )
    expect(tokenizer.vocabularySize).toBe(330)
  })

  test('keeps its blocks beside floats that have its adapter, and is another base with it', async () => {
    using base = await loadModel('ollama:tiny', { device: 'cpu', dtype: 'float32', quantised: true })
    using adapted = await loadModel('ollama:tiny:lora', { device: 'cpu', dtype: 'float32', quantised: true })
    const got = await logProbsOf(adapted, sequences)
    // Products of up to eight rows with blocks round activations to 16-bit fixed-point numbers.
    expect(largestDifference(got.flat(), logprobs.lora.flat())).toBeLessThan(2e-4)
    expect(adapted.source!.identity().hash).not.toBe(base.source!.identity().hash)
  })

  test('is merged and saved with its adapter, under its own name', async () => {
    using model = await loadFamily('ollama:tiny:lora')
    model.addAdapter('small', lora({ rank: 2 }))
    await model.saveAdapter('small', join(at(), 'adapter'))
    const saved = JSON.parse(readFileSync(join(at(), 'adapter', 'adapter_config.json'), 'utf8'))
    expect(saved.base_model_name_or_path).toBe('ollama:tiny:lora')
    for (const output of ['merged.gguf', 'merged']) {
      const adapter = join(at(), 'adapter')
      await mergeModel({ model: 'ollama:tiny:lora', adapter, output: join(at(), output), dtype: 'float32' })
      await expectLogProbs(join(at(), output), 'lora')
    }
    const { metadata } = await readGguf(join(at(), 'merged.gguf'))
    expect(metadata.get('general.name')).toBe('tiny:lora')
  })

  test('is found in the home folder, or where OLLAMA_MODELS says', async () => {
    cpSync(goldenPath('ollama/models'), join(at(), '.ollama', 'models'), { recursive: true })
    vi.stubEnv('OLLAMA_MODELS', '')
    vi.stubEnv('HOME', at())
    await expectLogProbs('ollama:tiny', 'base')
  })
})
