/** Whole models against the reference: log-probabilities with and without adapters, merging and unmerging. */
import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import type { Model } from '../../lib/models/model.js'
import { drawnIfEmulated } from '../drawn.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { goldenPath, lacksGolden, largestDifference, readTensors } from './files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, tinyModels } from './tiny-models.js'

const float32Tolerance = 5e-5
/** bfloat16 keeps 8 bits: logits of a few units are known to a few hundredths. */
const bfloat16Tolerance = 0.12
/** float16 keeps 11. */
const float16Tolerance = bfloat16Tolerance / 8

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** A hash of every linear layer's weight. */
async function weightHashes(model: Model): Promise<string[]> {
  const bits = await Promise.all(model.linears().map(({ weight }) => weight.floats!.bits()))
  return bits.map((values) => createHash('sha256').update(values).digest('hex'))
}

for (const name of tinyModels) {
  const { sequences, logprobs, adapters } = expectedOf(name)
  const largestError = async (model: Model, wanted: number[][]): Promise<number> => {
    const got = await logProbsOf(model, sequences)
    return Math.max(...got.map((values, i) => largestDifference(values, wanted[i]!)))
  }

  describe(name, () => {
    test('log-probabilities without an adapter', async () => {
      using model = await loadTiny(name)
      expect(await largestError(model, logprobs)).toBeLessThan(float32Tolerance)
    })

    test('log-probabilities of a packed batch are those of its sequences (T14)', async () => {
      using model = await loadTiny(name)
      const packed = await model.tokenLogProbs(batchOf(sequences.map((input_ids) => ({ input_ids }))))
      expect(largestDifference(packed, logprobs.flat())).toBeLessThan(float32Tolerance)
    })

    test.each([
      ['bfloat16', bfloat16Tolerance],
      ['float16', float16Tolerance],
    ] as const)('log-probabilities in %s', async (dtype, allowed) => {
      using model = await loadTiny(name, dtype)
      expect(await largestError(model, logprobs)).toBeLessThan(allowed)
    })

    test('a cache gives the logits of the whole sequence', async () => {
      using model = await loadTiny(name)
      const ids = sequences[1]!
      using cache = model.createCache(ids.length)
      const got: number[] = []
      // A prompt of 4 tokens, then one by one.
      for (let from = 0, to = 4; to < ids.length; from = to++) {
        const logits = await model.nextLogits(Int32Array.from(ids.slice(from, to)), cache)
        const most = logits.reduce((a, b) => Math.max(a, b))
        const lse = most + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0))
        got.push(logits[ids[to]!]! - lse)
      }
      expect(largestDifference(got, logprobs[1]!.slice(3))).toBeLessThan(float32Tolerance)
    })

    describe.each(drawnIfEmulated(`adapters of ${name}`, adapters, 2))(
      'adapter $name',
      ({ name: adapter, logprobs: adapted, config }) => {
        const folder = `${name}/adapters/${adapter}`

        test('log-probabilities beside the weights', async () => {
          using model = await loadTiny(name)
          await model.loadAdapter(goldenPath(folder), 'x')
          expect(await largestError(model, adapted)).toBeLessThan(float32Tolerance)
          model.setActiveAdapters([])
          expect(await largestError(model, logprobs)).toBeLessThan(float32Tolerance)
        })

        test('merged, then restored bit for bit', async () => {
          using model = await loadTiny(name)
          const pristine = await weightHashes(model)
          await model.loadAdapter(goldenPath(folder), 'x')
          const { merged } = await model.mergeAdapter('x')
          expect(merged).toBe(model.linears().filter(({ adapters: beside }) => beside.has('x')).length)
          expect(await weightHashes(model)).not.toEqual(pristine)
          expect(await largestError(model, adapted)).toBeLessThan(float32Tolerance)
          await model.unmergeAdapter('x')
          expect(await weightHashes(model)).toEqual(pristine)
          expect(await largestError(model, adapted)).toBeLessThan(float32Tolerance)
        })

        test.each([
          ['bfloat16', bfloat16Tolerance],
          ['float16', float16Tolerance],
        ] as const)('merged into %s weights, then restored bit for bit', async (dtype, allowed) => {
          using model = await loadTiny(name, dtype)
          const pristine = await weightHashes(model)
          await model.loadAdapter(goldenPath(folder), 'x')
          expect(await largestError(model, adapted)).toBeLessThan(allowed)
          await model.mergeAdapter('x')
          expect(await largestError(model, adapted)).toBeLessThan(allowed)
          expect(await weightHashes(model)).not.toEqual(pristine)
          await model.unmergeAdapter('x')
          expect(await weightHashes(model)).toEqual(pristine)
        })

        const mergedFile = `${folder}/merged_float32.safetensors`
        if (!config.merged) return
        needing(lacksGolden(mergedFile)).test('merged weights', async () => {
          using model = await loadTiny(name)
          await model.loadAdapter(goldenPath(folder), 'x')
          await model.mergeAdapter('x')
          const wanted = readTensors(goldenPath(mergedFile))
          for (const linear of model.linears()) {
            const values = await linear.weight.data()
            const error = largestDifference(values, wanted.get(`${linear.name}.weight`)!.values)
            expect(error, linear.name).toBeLessThan(1e-6)
          }
        })
      },
    )
  })
}
