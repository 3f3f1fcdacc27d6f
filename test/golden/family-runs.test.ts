/** Families of the second golden set: gradients, greedy texts and runs of PEFT, all of which transformers computed in float64. */
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { describeFamilies, familyPath, loadFamily, sharp } from './families.js'
import { goldenJson, goldenLines, goldenPath, lacksGolden, largestDifference, readTensors } from './files.js'
import { batchOf, type GoldenTraining, logProbsOf, type Row, trainOn } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const at = useTemporaryFolder()

interface Expected {
  sequences: number[][]
  logprobs: number[][]
  /** Of the sum of cross-entropies over all sequences, by the parameter's name in the file. */
  gradNorms: Record<string, number>
  gradSamples: Record<string, { index: number; value: number }[]>
  generation: { prompt: number[]; ids: number[] }
  training: Record<string, Omit<GoldenTraining, 'name'> & { trainable: number; start_logprobs: number[][] }>
}

/** What the set's README asks for: ten times as far as PyTorch in float32 is. */
const usual = {
  logprobs: 1e-4,
  gradNorm: 1e-4,
  gradSample: 3e-4,
  loss: 1e-5,
  norm: 1e-3,
  final: 5e-4,
  weights: 5e-5,
}
const ofSharp = { ...usual, logprobs: 3e-4, gradNorm: 1e-3, gradSample: 1e-3, norm: 2e-3, final: 1e-3 }

const names = [
  'olmo3',
  'gemma3-wrapped',
  'gemma4-e2b-text',
  'gemma4-e2b',
  'ministral3',
  'granitemoehybrid-dense',
  'lfm2',
  'qwen3_5-text',
  'qwen3_5',
]

describeFamilies(names, (name, folder) => {
  const tolerances = sharp.has(name) ? ofSharp : usual
  const { sequences, logprobs, gradNorms, gradSamples, generation, training } = goldenJson<Expected>(
    `${familyPath(name)}/expected.json`,
  )

  test('gradients of every weight', async () => {
    using model = await loadFamily(folder)
    model.trainAll()
    const { loss } = model.loss(batchOf(sequences.map((input_ids) => ({ input_ids }))))
    await loss.backward()
    loss.dispose()
    const { spelling } = model.source!
    const parameters = model.trainableParameters().map((one) => ({ ...one, name: spelling.inFile(one.name) }))
    expect(parameters.map(({ name: key }) => key).sort()).toEqual(Object.keys(gradNorms).sort())
    for (const { name: key, parameter } of parameters) {
      const gradient = await parameter.grad!.data()
      const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0))
      expect(Math.abs(norm / gradNorms[key]! - 1), key).toBeLessThan(tolerances.gradNorm)
      const [largest] = gradSamples[key]!
      for (const { index, value } of gradSamples[key]!) {
        const error = Math.abs(gradient[index]! - value) / Math.abs(largest!.value)
        expect(error, `${key}[${index}]`).toBeLessThan(tolerances.gradSample)
      }
      parameter.zeroGrad()
    }
  })

  test('the likeliest tokens, one after the other', async () => {
    using model = await loadFamily(folder)
    const { prompt, ids } = generation
    using cache = model.createCache(prompt.length + ids.length)
    const got: number[] = []
    while (got.length < ids.length) {
      const read = got.length === 0 ? prompt : got.slice(-1)
      got.push(await model.nextToken(read, cache, { temperature: 0, topK: 0, topP: 1, uniform: 0 }))
    }
    expect(got).toEqual(ids)
  })

  if (existsSync(join(folder, 'config-hub.json')))
    test('the same model under the keys of published configurations', async () => {
      mkdirSync(join(at(), 'hub'))
      copyFileSync(join(folder, 'config-hub.json'), join(at(), 'hub', 'config.json'))
      copyFileSync(join(folder, 'model.safetensors'), join(at(), 'hub', 'model.safetensors'))
      using model = await loadFamily(join(at(), 'hub'))
      const got = await logProbsOf(model, sequences)
      expect(largestDifference(got.flat(), logprobs.flat())).toBeLessThan(tolerances.logprobs)
    })

  describe.each(Object.entries(training))('%s', (method, run) => {
    const path = `${familyPath(name)}/training/${method}`

    needing(lacksGolden(path)).test('start, every step and end of a run', async () => {
      using model = await loadFamily(folder)
      await model.loadAdapter(goldenPath(`${path}/start`), 'a')
      const sizes = model.trainableParameters().map(({ parameter }) => parameter.elements)
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(run.trainable)
      const started = await logProbsOf(model, sequences)
      expect(largestDifference(started.flat(), run.start_logprobs.flat())).toBeLessThan(tolerances.logprobs)
      await trainOn(model, goldenLines<Row>(`${path}/rows.jsonl`), run, (taken, golden) => {
        const step = `step ${golden.step}`
        expect(taken.targetTokens, step).toBe(golden.targetTokens)
        expect(Math.abs(taken.loss / golden.loss - 1), `${step}: loss`).toBeLessThan(tolerances.loss)
        expect(Math.abs(taken.gradNorm / golden.gradNorm - 1), `${step}: norm`).toBeLessThan(tolerances.norm)
      })
      const ended = await logProbsOf(model, sequences)
      expect(largestDifference(ended.flat(), run.final_logprobs.flat())).toBeLessThan(tolerances.final)
      await model.saveAdapter('a', join(at(), 'saved'))
      const [saved, wanted] = [join(at(), 'saved'), goldenPath(`${path}/final`)].map((adapter) =>
        readTensors(join(adapter, 'adapter_model.safetensors')),
      )
      expect([...saved!.keys()].sort()).toEqual([...wanted!.keys()].sort())
      for (const [key, { values }] of wanted!) {
        expect(largestDifference(saved!.get(key)!.values, values), key).toBeLessThan(tolerances.weights)
      }
    })
  })
})
