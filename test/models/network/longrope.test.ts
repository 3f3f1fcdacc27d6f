/**
 * LongRoPE (Phi-3's 128k models, Phi-4 mini) as transformers computes it, against a network in float64: rows that are longer
 * than pretraining's are rotated by other factors from their first token on.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { packBatch } from '../../../lib/batches/packing.js'
import { randomStream } from '../../../lib/common/random.js'
import { Engine } from '../../../lib/engine/index.js'
import { drain, GREEDY } from '../../../lib/generate/index.js'
import { loadModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { familyExpected, familyFolder } from '../../golden/families.js'
import { type GoldenTensor, largestDifference, readTensors } from '../../golden/files.js'
import { batchOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const golden = familyFolder('phi3')
const weights = readTensors(join(golden, 'model.safetensors'))
const [hidden, heads, keyValueHeads, size, intermediate, layers] = [48, 4, 2, 12, 100, 3]
const original = 24
const random = randomStream(1, 'test', 'longrope')
const factors = () => Array.from({ length: size / 2 }, () => 1 + 3 * random.uniform())
const scaling = { rope_type: 'longrope', short_factor: factors(), long_factor: factors() }
const attentionFactor = Math.sqrt(1 + Math.log(256 / original) / Math.log(original))
const row = (length: number) => Array.from({ length }, () => 3 + random.integer(300))

/** The golden checkpoint with other rotary settings. */
async function load(rope: object = scaling): Promise<Model> {
  const folder = join(temporary(), 'model')
  cpSync(golden, folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(golden, 'config.json'), 'utf8'))
  const changed = { rope_theta: 10000, original_max_position_embeddings: original, rope_parameters: rope }
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...changed }))
  return loadModel(folder, { device: process.env.MORA_TEST_DEVICE ?? 'cpu', dtype: 'float32', threads: 2 })
}

type Rows = Float64Array[]

const weight = (name: string): GoldenTensor => weights.get(name)!

function product(x: Rows, name: string): Rows {
  const { shape, values } = weight(`${name}.weight`)
  const [d, k] = shape as [number, number]
  return x.map((from) =>
    Float64Array.from({ length: d }, (_, o) => from.reduce((sum, value, i) => sum + value * values[o * k + i]!, 0)),
  )
}

function normed(x: Rows, name: string): Rows {
  const { values } = weight(`${name}.weight`)
  return x.map((from) => {
    const mean = from.reduce((sum, value) => sum + value * value, 0) / from.length
    return from.map((value, i) => (value / Math.sqrt(mean + 1e-6)) * values[i]!)
  })
}

function rotated(x: Float64Array, position: number, frequency: (pair: number) => number, factor: number): Float64Array {
  const half = size / 2
  return x.map((value, i) => {
    const angle = position * frequency(i % half)
    const other = i < half ? -x[i + half]! : x[i - half]!
    return factor * (value * Math.cos(angle) + other * Math.sin(angle))
  })
}

/** Log-probabilities of each token after the first, with heads rotated by these divisors. */
function reference(ids: number[], divisors: readonly number[], factor: number): number[] {
  const frequency = (pair: number) => 10000 ** ((-2 * pair) / size) / divisors[pair]!
  const table = weight('model.embed_tokens.weight').values
  let x: Rows = ids.map((id) => Float64Array.from(table.subarray(id * hidden, (id + 1) * hidden)))
  const added = (more: Rows) => x.map((from, t) => from.map((value, i) => value + more[t]![i]!))
  for (let layer = 0; layer < layers; layer++) {
    const path = `model.layers.${layer}`
    const qkv = product(normed(x, `${path}.input_layernorm`), `${path}.self_attn.qkv_proj`)
    const head = (t: number, index: number) => qkv[t]!.slice(index * size, (index + 1) * size)
    const attended = ids.map((_, t) => {
      const out = new Float64Array(heads * size)
      for (let h = 0; h < heads; h++) {
        const group = Math.floor((h * keyValueHeads) / heads)
        const query = rotated(head(t, h), t, frequency, factor)
        const scores = ids.slice(0, t + 1).map((_id, s) => {
          const key = rotated(head(s, heads + group), s, frequency, factor)
          return Math.exp(query.reduce((sum, value, i) => sum + value * key[i]!, 0) / Math.sqrt(size))
        })
        const total = scores.reduce((sum, score) => sum + score, 0)
        for (const [s, score] of scores.entries()) {
          const value = head(s, heads + keyValueHeads + group)
          for (let i = 0; i < size; i++) out[h * size + i]! += (score / total) * value[i]!
        }
      }
      return out
    })
    x = added(product(attended, `${path}.self_attn.o_proj`))
    const both = product(normed(x, `${path}.post_attention_layernorm`), `${path}.mlp.gate_up_proj`)
    const gated = both.map((of) =>
      Float64Array.from({ length: intermediate }, (_, i) => (of[i]! / (1 + Math.exp(-of[i]!))) * of[intermediate + i]!),
    )
    x = added(product(gated, `${path}.mlp.down_proj`))
  }
  const logits = product(normed(x, 'model.norm'), 'lm_head')
  return ids.slice(1).map((id, t) => {
    const lse = Math.log(logits[t]!.reduce((sum, value) => sum + Math.exp(value), 0))
    return logits[t]![id]! - lse
  })
}

test('the network in float64 matches the golden data', () => {
  const { sequences, logprobs } = familyExpected('phi3')
  const ones = Array(size / 2).fill(1)
  expect(largestDifference(reference(sequences[0]!, ones, 1), logprobs[0]!)).toBeLessThan(1e-5)
})

describe('log-probabilities', () => {
  test.each([2, original - 1, original])('of a row of %i tokens, by the short factors', async (length) => {
    using model = await load()
    const ids = row(length)
    const wanted = reference(ids, scaling.short_factor, attentionFactor)
    expect(largestDifference((await logProbsOf(model, [ids]))[0]!, wanted)).toBeLessThan(1e-4)
  })

  test.each([original + 1, 2 * original, 70])('of a row of %i tokens, by the long factors', async (length) => {
    using model = await load()
    const ids = row(length)
    const wanted = reference(ids, scaling.long_factor, attentionFactor)
    expect(largestDifference((await logProbsOf(model, [ids]))[0]!, wanted)).toBeLessThan(1e-4)
    expect(largestDifference(wanted, reference(ids, scaling.short_factor, attentionFactor))).toBeGreaterThan(1e-2)
  })

  test('a given attention factor is used', async () => {
    using model = await load({ ...scaling, attention_factor: 1.5 })
    const ids = row(20)
    const wanted = reference(ids, scaling.short_factor, 1.5)
    expect(largestDifference((await logProbsOf(model, [ids]))[0]!, wanted)).toBeLessThan(1e-4)
  })

  test('of each packed row equal those of the row alone, in training too, and recomputing changes no bit', async () => {
    using model = await load()
    const rows = [original + 9, 7, original, 3 * original, 300, 5].map((length) => ({ input_ids: row(length) }))
    const alone = (
      await logProbsOf(
        model,
        rows.map(({ input_ids }) => input_ids),
      )
    ).flat()
    expect(largestDifference(await model.tokenLogProbs(batchOf(rows)), alone)).toBeLessThan(1e-5)
    await model.addAdapter('a', lora({ rank: 2 }))
    await takeSteps(model, batchOf(rows), 1e-2, 2)
    const gradients = async (checkpointing: boolean) => {
      model.gradientCheckpointing = checkpointing
      const { loss } = model.loss(batchOf(rows))
      await loss.backward()
      loss.dispose()
      const parameters = model.trainableParameters().map(({ parameter }) => parameter)
      const values = await Promise.all(parameters.map((parameter) => parameter.grad!.data()))
      for (const parameter of parameters) parameter.zeroGrad()
      return values
    }
    expect(await gradients(true)).toEqual(await gradients(false))
  })
})

describe('with a cache', () => {
  const greedy = { ...GREEDY, uniform: 0 }

  async function written(engine: Engine, ids: readonly number[], maxNewTokens: number): Promise<number[]> {
    const got: number[] = []
    const request = { ids, maxNewTokens, sampling: GREEDY, stopIds: new Set<number>(), random: randomStream(0, 'test') }
    await drain(engine.write(request), ({ id }) => got.push(id))
    return got
  }

  test('past the limit, a prompt and its continuation are read again', async () => {
    using model = await load()
    await using engine = new Engine(model, { sequences: 1 })
    const ids = row(original - 3)
    const wanted: number[] = []
    const got = await written(engine, ids, 7)
    for (let step = 0; step < 7; step++) {
      const seen = [...ids, ...got.slice(0, step)]
      using alone = model.createCache(seen.length)
      wanted.push(await model.nextToken(Int32Array.from(seen), alone, greedy))
    }
    expect(got).toEqual(wanted)
    // A shorter prompt with the same start is a short row again.
    using alone = model.createCache(10)
    const next = await model.nextToken(Int32Array.from(ids.slice(0, 10)), alone, greedy)
    expect(await written(engine, ids.slice(0, 10), 1)).toEqual([next])
  })

  test('a long prompt that is read in parts is a long row from its start', async () => {
    using model = await load()
    using cache = model.createCache(601)
    cache.rowLength = 600
    const ids = row(600)
    for (let from = 0; from < 600; from += 150)
      await model.nextLogits(Int32Array.from(ids.slice(from, from + 150)), cache)
    using whole = model.createCache(601)
    const next = await model.nextLogits(Int32Array.from([...ids, 5]), whole)
    expect(largestDifference(await model.nextLogits([5], cache), next)).toBeLessThan(1e-4)
    await using engine = new Engine(model, { sequences: 1 })
    using alone = model.createCache(200)
    const token = await model.nextToken(Int32Array.from(ids.slice(0, 200)), alone, greedy)
    expect(await written(engine, ids.slice(0, 200), 1)).toEqual([token])
  })

  test('continuations of a prompt are scored as rows of their own lengths', async () => {
    using model = await load()
    await using engine = new Engine(model, { sequences: 2 })
    const ids = row(original - 4)
    const continuations = [row(2), row(8), row(1)]
    // At once, so that tables of angles grow while other passes read them.
    const expected = await Promise.all(
      continuations.map(async (continuation) => {
        const whole = [...ids, ...continuation]
        const mask = whole.map((_, i) => Number(i >= ids.length))
        const values = await model.tokenLogProbs(packBatch([{ ids: whole, mask, row: 0 }]))
        return values.reduce((sum, value) => sum + value, 0)
      }),
    )
    const [sums] = await Promise.all(engine.score([{ ids, continuations }]))
    expect(largestDifference(Float32Array.from(sums!), Float32Array.from(expected))).toBeLessThan(1e-4)
  })

  test('a row that grows past the limit in the cache of a custom loop is refused', async () => {
    using model = await load()
    using cache = model.createCache(100)
    await model.nextLogits(Int32Array.from(row(original)), cache)
    await expect(async () => model.nextLogits([5], cache)).rejects.toThrow(
      /Rows of 25 tokens or more .* read the row again/,
    )
  })
})
