/**
 * Quantised checkpoints as written by the tools of each format: their values, the models' results, and training beside them.
 */
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readJsonObject } from '../../lib/io/json.js'
import { readModelFolder } from '../../lib/io/model-folder.js'
import { quantisedWeights } from '../../lib/models/read/formats/index.js'
import { native } from '../../lib/native/addon.js'
import { liveBytes } from '../live-bytes.js'
import { quantisedSets } from '../models/read/quantised-sets.js'
import { testDevice } from '../operations/harness.js'
import { loadFamily } from './families.js'
import { describeGolden, goldenJson, goldenLines, largestDifference, readTensors } from './files.js'
import { batchOf, type GoldenTraining, logProbsOf, type Row, trainOn } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface Expected {
  /** How many weights are quantised. */
  quantised: number
  dequantised: string[]
  sequences: number[][]
  logprobs: number[][]
  lora?: Omit<GoldenTraining, 'name'> & { trainable: number; logprobs: number[][] }
}

const expectedOf = (name: string) => goldenJson<Expected>(`quantised/${name}/expected.json`)
/** Values that are products of two floats are rounded there and here; all others are exact. */
const rounds = (name: string) => /^(bnb|fp8-block-partial)/.test(name)

async function weightsIn(folder: string) {
  const { quantization_config: settings } = await readJsonObject(join(folder, 'config.json'))
  const open = (path: string) => native.openFile(path)
  return { open, ...quantisedWeights(settings, 'config.json', await readModelFolder(folder), open) }
}

describeGolden('quantised', quantisedSets, (name, folder) => {
  const { quantised, dequantised, sequences, logprobs, lora } = expectedOf(name)

  test('values', async () => {
    const { weights, open } = await weightsIn(folder)
    expect(weights.length).toBe(quantised)
    const wanted = readTensors(join(folder, 'dequantised.safetensors'))
    expect(dequantised.length).toBeGreaterThan(1)
    for (const weight of dequantised) {
      using matrix = weights.find((one) => one.name === weight)!.readKept(testDevice(), open)
      const { shape, values } = wanted.get(weight)!
      const got = await matrix.data()
      const errors = got.map((value, i) => Math.abs(value - values[i]!) / (Math.abs(values[i]!) || 1))
      const largest = errors.reduce((most, error) => Math.max(most, error), 0)
      expect(got.length).toBe(shape[0]! * shape[1]!)
      expect(largest, weight).toBeLessThanOrEqual(rounds(name) ? 1.2e-7 : 0)
    }
  })

  test('log-probabilities', async () => {
    using model = await loadFamily(folder)
    const got = await logProbsOf(model, sequences)
    expect(largestDifference(got.flat(), logprobs.flat())).toBeLessThan(5e-5)
    const packed = await model.tokenLogProbs(batchOf(sequences.map((input_ids) => ({ input_ids }))))
    expect(largestDifference(packed, logprobs.flat()), 'packed').toBeLessThan(5e-5)
  })

  if (lora)
    test('LoRA beside the values, step by step', async () => {
      using model = await loadFamily(folder)
      await model.loadAdapter(join(folder, 'lora', 'start'), 'a')
      expect(largestDifference((await logProbsOf(model, sequences)).flat(), lora.logprobs.flat())).toBeLessThan(5e-5)
      const rows = goldenLines<Row>(`quantised/${name}/lora/rows.jsonl`)
      await trainOn(model, rows, lora, (taken, golden) => {
        const at = `step ${golden.step}`
        expect(taken.targetTokens, at).toBe(golden.targetTokens)
        expect(Math.abs(taken.loss / golden.loss - 1), `${at}: relative error of the loss`).toBeLessThan(2e-5)
        expect(Math.abs(taken.gradNorm / golden.gradNorm - 1), `${at}: relative error of the norm`).toBeLessThan(5e-4)
      })
      const final = (await logProbsOf(model, sequences)).flat()
      expect(largestDifference(final, lora.final_logprobs.flat())).toBeLessThan(5e-5)
    })
})
