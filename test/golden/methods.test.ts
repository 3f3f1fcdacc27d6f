/** Methods of PEFT 0.21 in float64: trained step by step from its files to its files, merged and unmerged. */
import { cpSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { readAdapterFolder } from '../../lib/adapters/files/adapter-folder.js'
import { writeSafetensors } from '../../lib/io/safetensors.js'
import { assetPath, lacksAsset } from '../assets.js'
import { drawnIfEmulated } from '../drawn.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { entriesOf, goldenLines, goldenPath, largestDifference, readTensors } from './files.js'
import { type GoldenTraining, loadTiny, logProbsOf, type Row, trainOn } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** PEFT's names of methods in the second set. */
const available = ['GRALORA', 'SHIRA', 'OFT', 'RANDLORA', 'VERA', 'DELORA']

/** Entries that say how the values in the file were drawn. */
const unwritten = ['target_modules', 'random_seed', 'projection_prng_key', 'save_projection', 'sparse']

interface GoldenMethod {
  name: string
  /** PEFT's name of the method. */
  type?: string
  /** Entries of its configuration that change a number. */
  config?: object
  /** The checkpoint, if it is not the default one. */
  base?: string
  /** A file beside `start` with what PEFT draws from a seed and did not save. */
  buffers?: string
  trainable: number
  /** With the adapter as it starts. */
  logprobs: number[][]
  options: Omit<GoldenTraining['options'], 'adapter'>
  steps: GoldenTraining['steps']
  final_logprobs: number[][]
}

interface GoldenMethods {
  sequences: number[][]
  methods: GoldenMethod[]
}

/** The small ones of the second set are in the repository, all of them in MORA_TEST_ASSETS. */
const whole = 'golden/methods2/expected.json'
const lacksWhole = lacksAsset(whole, 'golden data')
if (lacksWhole !== null) needing(lacksWhole).test('the larger ones of the second set', () => {})
const files = ['methods/expected.json', 'methods2/expected.json'].map(goldenPath)
if (lacksWhole === null) files.push(assetPath(whole))
const found = files.flatMap((path) => {
  const { sequences, methods } = JSON.parse(readFileSync(path, 'utf8')) as GoldenMethods
  return methods.map((method) => ({ ...method, set: basename(dirname(path)), sequences }))
})
const methods = [...new Map(found.map((method) => [method.name, method])).values()].filter(
  ({ base, type }) => base === undefined && (type === undefined || available.includes(type)),
)
const folderOfTest = useTemporaryFolder()
const weightsOf = (path: string) => readTensors(join(path, 'adapter_model.safetensors'))

describe.each(drawnIfEmulated('golden methods', methods, 2))('$name', (method) => {
  const { name, set, sequences, trainable, logprobs, options, steps, final_logprobs: finalLogprobs } = method
  const pathOf = (at: 'start' | 'final') => goldenPath(`${set}/${name}/${at}`)
  const completed = { start: useTemporaryFolder(), final: useTemporaryFolder() }
  const folder = (at: 'start' | 'final') => (method.buffers ? completed[at]() : pathOf(at))

  // With what PEFT draws from a seed, as it saves that by default.
  beforeEach(async () => {
    if (!method.buffers) return
    const buffers = readTensors(join(pathOf('start'), '..', method.buffers))
    for (const at of ['start', 'final'] as const) {
      cpSync(pathOf(at), folder(at), { recursive: true })
      const shared = [...buffers].map(([key, tensor]) => [`base_model.${key}`, tensor] as const)
      const tensors = new Map([...weightsOf(pathOf(at)), ...shared])
      await writeSafetensors(join(folder(at), 'adapter_model.safetensors'), entriesOf(tensors))
    }
  })

  if (method.buffers)
    test('is refused without the tensors that all its layers share', async () => {
      using model = await loadTiny('tiny-untied')
      await expect(model.loadAdapter(pathOf('start'))).rejects.toThrow('save it with save_projection=True')
    })
  test('the initial adapter matches, unmerged and merged; unmerging restores the bits', async () => {
    using model = await loadTiny('tiny-untied')
    const weights = async () => Promise.all(model.linears().map(({ weight }) => weight.data()))
    const before = await weights()
    await model.loadAdapter(folder('start'), 'a')
    const sizes = model.trainableParameters().map(({ parameter }) => parameter.elements)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(trainable)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
    await model.mergeAdapter('a')
    expect(await weights()).not.toEqual(before)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
    await model.unmergeAdapter('a')
    expect(await weights()).toEqual(before)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
  })

  test('loss and norm of every step, the final adapter, and its files match', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(folder('start'), 'a')
    const rows = goldenLines<Row>(`${set}/${name}/rows.jsonl`)
    await trainOn(model, rows, { options, steps }, (taken, golden) => {
      const at = `step ${golden.step}`
      expect(taken.targetTokens, at).toBe(golden.targetTokens)
      expect(taken.learningRate, at).toBeCloseTo(golden.learningRate, 12)
      expect(Math.abs(taken.loss / golden.loss - 1), `${at}: relative error of the loss`).toBeLessThan(2e-5)
      expect(Math.abs(taken.gradNorm / golden.gradNorm - 1), `${at}: relative error of the norm`).toBeLessThan(5e-4)
    })
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), finalLogprobs.flat())).toBeLessThan(5e-5)

    const output = folderOfTest()
    await model.saveAdapter('a', output)
    const [saved, wanted] = [weightsOf(output), weightsOf(folder('final'))]
    // PEFT repeats what all layers share under each of them, and reads it from either place.
    const shared = [...wanted.keys()].filter((key) => /^base_model\.model\..*\.(randlora|vera)_[AB]$/.test(key))
    for (const key of shared) wanted.delete(key)
    expect([...saved.keys()].sort()).toEqual([...wanted.keys()].sort())
    for (const [key, { shape, values }] of wanted) {
      expect(saved.get(key)!.shape, key).toEqual(shape)
      // Adam divides by roots of tiny second moments, so weights that hardly matter may end far apart in relation.
      expect(largestDifference(saved.get(key)!.values, values), key).toBeLessThan(1e-4)
    }
    const config = JSON.parse(readFileSync(join(output, 'adapter_config.json'), 'utf8'))
    const golden = JSON.parse(readFileSync(join(folder('final'), 'adapter_config.json'), 'utf8'))
    const decisive = [
      'peft_type',
      'r',
      'lora_alpha',
      'rank_pattern',
      'alpha_pattern',
      'use_dora',
      'use_rslora',
      'mini_r',
      ...Object.keys(method.config ?? {}).filter((key) => !unwritten.includes(key)),
    ]
    for (const key of decisive) expect(config[key] || null, key).toEqual(golden[key] || null)
    const [again, first] = [await readAdapterFolder(output), await readAdapterFolder(folder('final'))]
    const targets = (targetModules: unknown) => [...(targetModules as string[])].sort()
    expect(targets(again.config.targetModules)).toEqual(targets(first.config.targetModules))
    expect({ ...again.config, targetModules: [] }).toEqual({ ...first.config, targetModules: [] })
  })
})
