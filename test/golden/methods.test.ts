/** Methods of PEFT 0.21 in float64: followed step by step from its files to its files, merged, and taken out again. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readAdapterFolder } from '../../lib/adapters/adapter-folder.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { goldenJson, goldenLines, goldenPath, largestDifference, readTensors } from './files.js'
import { type GoldenTraining, loadTiny, logProbsOf, type Row, trainOn } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface GoldenMethod {
  name: string
  trainable: number
  /** With the adapter as it starts. */
  logprobs: number[][]
  options: Omit<GoldenTraining['options'], 'adapter'>
  steps: GoldenTraining['steps']
  final_logprobs: number[][]
}

const { sequences, methods } = goldenJson<{ sequences: number[][]; methods: GoldenMethod[] }>('methods/expected.json')
const folder = (name: string, at: 'start' | 'final') => goldenPath(`methods/${name}/${at}`)!
const folderOfTest = useTemporaryFolder()
const weightsOf = (path: string) => readTensors(join(path, 'adapter_model.safetensors'))

describe.each(methods)('$name', ({ name, trainable, logprobs, options, steps, final_logprobs: finalLogprobs }) => {
  test('the adapter as it starts, beside the weights and merged; taken out, the bits are the old ones', async () => {
    using model = await loadTiny('tiny-untied')
    const weights = async () => Promise.all(model.linears().map(({ weight }) => weight.data()))
    const before = await weights()
    await model.loadAdapter(folder(name, 'start'), 'a')
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

  test('loss and norm of every step, the adapter that it ends with, and its files', async () => {
    using model = await loadTiny('tiny-untied')
    await model.loadAdapter(folder(name, 'start'), 'a')
    const rows = goldenLines<Row>(`methods/${name}/rows.jsonl`)
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
    const [saved, wanted] = [weightsOf(output), weightsOf(folder(name, 'final'))]
    expect([...saved.keys()].sort()).toEqual([...wanted.keys()].sort())
    for (const [key, { shape, values }] of wanted) {
      expect(saved.get(key)!.shape, key).toEqual(shape)
      // Adam divides by roots of tiny second moments, so weights that hardly matter may end far apart in relation.
      expect(largestDifference(saved.get(key)!.values, values), key).toBeLessThan(1e-4)
    }
    const config = JSON.parse(readFileSync(join(output, 'adapter_config.json'), 'utf8'))
    const golden = JSON.parse(readFileSync(join(folder(name, 'final'), 'adapter_config.json'), 'utf8'))
    const decisive = [
      'peft_type',
      'r',
      'lora_alpha',
      'rank_pattern',
      'alpha_pattern',
      'use_dora',
      'use_rslora',
      'mini_r',
    ]
    for (const key of decisive) expect(config[key] || null, key).toEqual(golden[key] || null)
    const [again, first] = [await readAdapterFolder(output), await readAdapterFolder(folder(name, 'final'))]
    const targets = (targetModules: unknown) => [...(targetModules as string[])].sort()
    expect(targets(again.config.targetModules)).toEqual(targets(first.config.targetModules))
    expect({ ...again.config, targetModules: [] }).toEqual({ ...first.config, targetModules: [] })
  })
})
