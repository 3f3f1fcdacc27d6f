/** Every family of models: log-probabilities against transformers, training beside and of its weights, and its own layout. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { randomStream } from '../../lib/common/random.js'
import { initModel, mergeModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { Parameter } from '../../lib/tensor/parameter.js'
import { drawn, drawnTests } from '../drawn.js'
import { safetensorsBytes } from '../io/safetensors-bytes.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { lacksCpu, lacksEmulation, lacksLong, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import {
  describeFamilies,
  familyExpected,
  familyFolder,
  familyNames,
  familyPath,
  layoutOf,
  loadFamily,
  sharp,
} from './families.js'
import { lacksGolden, largestDifference, largestOf } from './files.js'
import { batchOf, gradientsOf, logProbsOf, takeSteps } from './tiny-models.js'

const tolerance = 1e-4
/** bfloat16 keeps 8 bits: logits of a few units are known to a few hundredths. */
const bfloat16Tolerance = 0.25

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const methods = [
  { method: 'LoRA', config: lora({ rank: 2 }) },
  { method: 'MoRA', config: mora({ rank: 2, operator: 'rotation' }) },
  { method: 'MoRA by sharing', config: mora({ rank: 3, operator: 'sharing' }) },
]

/** On the emulator, one of the available families. */
const names =
  lacksEmulation === null
    ? drawn(
        'families',
        familyNames.filter((name) => lacksGolden(familyPath(name)) === null),
        1,
      )
    : familyNames

/** Families whose gradients are compared with finite differences, which takes as long as all else. */
const differing = drawn('families of finite differences', names, 4)

describeFamilies(names, (name, folder) => {
  const { sequences, logprobs } = familyExpected(name)
  const rows = sequences.map((input_ids) => ({ input_ids }))
  const isSharp = sharp.has(name)
  const batch = batchOf(rows)
  const largestError = (got: readonly number[][], wanted = logprobs): number =>
    Math.max(...got.map((values, i) => largestDifference(values, wanted[i]!)))

  // The emulator takes long over each.
  const next = lacksEmulation === null ? drawnTests(`tests of ${name}`, 10, 5) : needing

  next().test('log-probabilities', async () => {
    using model = await loadFamily(folder)
    expect(largestError(await logProbsOf(model, sequences))).toBeLessThan(tolerance)
    const packed = await model.tokenLogProbs(batch)
    expect(largestDifference(packed, logprobs.flat()), 'packed (T14)').toBeLessThan(tolerance)
  })

  next().test('log-probabilities in bfloat16', async () => {
    using model = await loadFamily(folder, 'bfloat16')
    expect(largestError(await logProbsOf(model, sequences))).toBeLessThan(bfloat16Tolerance * (isSharp ? 5 : 1))
  })

  next().test('a cache gives the logits of the whole sequence', async () => {
    using model = await loadFamily(folder)
    const longest = sequences.reduce((best, { length }, i) => (length > sequences[best]!.length ? i : best), 0)
    const ids = sequences[longest]!
    using cache = model.createCache(ids.length)
    const got: number[] = []
    // A prompt of up to 20 tokens, then by twos and ones.
    for (let from = 0, to = Math.min(20, ids.length - 41); to < ids.length; from = to, to += 1 + (to % 2)) {
      const logits = await model.nextLogits(Int32Array.from(ids.slice(from, to)), cache)
      const lse = Math.log(logits.reduce((sum, value) => sum + Math.exp(value), 0))
      got.push(logits[ids[to]!]! - lse - logprobs[longest]![to - 1]!)
    }
    expect(got.length).toBeGreaterThanOrEqual(20)
    expect(largestOf(got)).toBeLessThan(tolerance)
  })

  next().test.each(drawn(`methods that train ${name}`, methods, 1))('$method: the loss falls', async ({ config }) => {
    using model = await loadFamily(folder)
    model.addAdapter('x', config)
    const before = await lossOf(model)
    await takeSteps(model, batch, 1e-2, 8)
    expect(await lossOf(model)).toBeLessThan(before - 0.05)
  })

  // Other devices have tests of single kernels, and this would take long on the emulator.
  const checked = drawn(`finite differences of ${name}`, methods, 1)
  needing(lacksCpu, differing.includes(name) ? null : lacksLong).test.each(checked)(
    '$method: gradients are those of finite differences',
    async ({ config }) => {
      using model = await loadFamily(folder)
      addRandom(model, config)
      const gradients = await gradientsOf(model, batch)
      for (const { name: key, parameter } of model.trainableParameters()) {
        const gradient = gradients.get(key)!
        expect(largestOf(gradient), key).toBeGreaterThan(0)
        const slope = await slopeAlong(model, parameter, gradient)
        const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0))
        expect(Math.abs(slope / norm - 1), key).toBeLessThan(1e-3)
      }
    },
  )

  next().test('a packed batch equals its rows one by one, and recomputing changes no bit', async () => {
    using model = await loadFamily(folder)
    addRandom(model, lora({ rank: 2, modulesToSave: ['embeddings', 'norms'] }))
    const wanted = await gradientsOf(model, batch)
    const apart = await gradientsOf(model, ...rows.map((row) => batchOf([row])))
    const largest = Math.max(...[...wanted.values()].map(largestOf))
    for (const [key, gradient] of wanted)
      expect(largestDifference(apart.get(key)!, gradient) / largest, key).toBeLessThan(1e-5)
    model.gradientCheckpointing = true
    expect(await gradientsOf(model, batch)).toEqual(wanted)
  })

  next().test.each(drawn(`methods that merge into ${name}`, methods, 1))(
    '$method: merges into the layout that the checkpoint has',
    async ({ config }) => {
      using model = await loadFamily(folder)
      addRandom(model, config)
      const wanted = await logProbsOf(model, sequences)
      expect(largestError(wanted)).toBeGreaterThan(0.01)
      await model.saveAdapter('x', join(at(), 'adapter'))
      const output = join(at(), 'merged')
      await mergeModel({ model: folder, adapter: join(at(), 'adapter'), output, device: model.device.kind })
      expect(layoutOf(output)).toEqual(layoutOf(folder))
      expect(await logProbsOf(model, sequences)).toEqual(wanted)
      using merged = await loadFamily(output)
      expect(largestError(await logProbsOf(merged, sequences), wanted)).toBeLessThan(tolerance)
      using beside = await loadFamily(folder)
      await beside.loadAdapter(join(at(), 'adapter'))
      expect(await logProbsOf(beside, sequences)).toEqual(wanted)
      await beside.mergeAdapter('default')
      expect(largestError(await logProbsOf(beside, sequences), wanted)).toBeLessThan(tolerance)
    },
  )

  next().test('without a change, it is written as read', async () => {
    using model = await loadFamily(folder)
    await model.save(join(at(), 'copy'))
    const bytes = (path: string) => readFileSync(join(path, 'model.safetensors'))
    expect(layoutOf(join(at(), 'copy'))).toEqual(layoutOf(folder))
    using copy = await loadFamily(join(at(), 'copy'))
    expect(await logProbsOf(copy, sequences)).toEqual(await logProbsOf(model, sequences))
    expect(bytes(join(at(), 'copy')).length).toBeGreaterThan(1000)
  })

  next().test('embeddings, norms and a projection are trained whole beside an adapter', async () => {
    using model = await loadFamily(folder)
    const last = model.linears().at(-1)!.name.split('.').at(-1)!
    model.addAdapter('x', lora({ rank: 2, modulesToSave: ['embeddings', 'norms', last], targetModules: 'all-linear' }))
    await takeSteps(model, batch, 5e-3, 2)
    const wanted = await logProbsOf(model, sequences)
    await model.saveAdapter('x', join(at(), 'adapter'))
    await model.save(join(at(), 'saved'))
    using beside = await loadFamily(folder)
    await beside.loadAdapter(join(at(), 'adapter'))
    expect(await logProbsOf(beside, sequences)).toEqual(wanted)
    await beside.mergeAdapter('default')
    await beside.save(join(at(), 'saved'), { overwrite: true })
    using saved = await loadFamily(join(at(), 'saved'))
    expect(largestError(await logProbsOf(saved, sequences), wanted)).toBeLessThan(tolerance)
  })

  next().test('all weights are trained', async () => {
    using model = await loadFamily(folder)
    model.trainAll()
    const before = await lossOf(model)
    await takeSteps(model, batch, 2e-3, 3)
    expect(await lossOf(model)).toBeLessThan(before - 0.1)
  })

  next().test('random weights start at the uniform loss and learn', async () => {
    const device = testDevice().kind
    using model = await initModel(join(folder, 'config.json'), { device, dtype: 'float32', threads: 2, seed: 1 })
    model.trainAll()
    const before = await lossOf(model)
    expect(Math.abs(before - Math.log(model.config.vocabularySize))).toBeLessThan(0.2)
    await takeSteps(model, batch, 5e-3, 5)
    expect(await lossOf(model)).toBeLessThan(before - 0.05)
  })

  /** The mean loss of a target. */
  async function lossOf(model: Model): Promise<number> {
    return -(await sumOfLogProbs(model)) / batch.targetTokens
  }

  /** In float64. */
  async function sumOfLogProbs(model: Model): Promise<number> {
    return (await model.tokenLogProbs(batch)).reduce((sum, value) => sum + value, 0)
  }

  /** The derivative of the loss along a parameter's gradient, from five points (fourth order). */
  async function slopeAlong(model: Model, parameter: Parameter, gradient: Float32Array): Promise<number> {
    const values = await parameter.data()
    const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0))
    // The loss changes by at most this: little enough for five points, and enough beside its rounding.
    const step = (isSharp ? 0.05 : 0.5) / (norm + 5)
    const lossAt = async (distance: number): Promise<number> => {
      parameter.assign(Float32Array.from(values, (value, i) => value + (distance * gradient[i]!) / norm))
      return -(await sumOfLogProbs(model))
    }
    const [ahead, behind] = [await lossAt(step), await lossAt(-step)]
    const [further, back] = [await lossAt(2 * step), await lossAt(-2 * step)]
    parameter.assign(values)
    return (8 * (ahead - behind) - (further - back)) / (12 * step)
  }
})

/** An adapter whose matrices are random instead of zero. */
function addRandom(model: Model, config: Parameters<Model['addAdapter']>[1]): void {
  model.addAdapter('x', config)
  const random = randomStream(3, 'test')
  for (const { name, parameter } of model.trainableParameters()) {
    if (!/\.(lora_[AB]|mora)$/.test(name)) continue
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
  }
}

test('a checkpoint of GPT-2 without its head’s prefix, as the hub has it', async () => {
  const folder = familyFolder('gpt2')
  const file = readFileSync(join(folder, 'model.safetensors'))
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header = Object.entries(JSON.parse(file.toString('utf8', 8, start)) as Record<string, unknown>)
  const renamed = header.map(([key, value]) => [key.replace(/^transformer\./, ''), value])
  const bytes = Buffer.concat([safetensorsBytes(Object.fromEntries(renamed), 0), file.subarray(start)])
  const copy = join(at(), 'gpt2')
  mkdirSync(copy)
  writeFileSync(join(copy, 'model.safetensors'), bytes)
  copyFileSync(join(folder, 'config.json'), join(copy, 'config.json'))
  const { sequences, logprobs } = familyExpected('gpt2')
  using model = await loadFamily(copy)
  const got = await logProbsOf(model, sequences)
  for (const [i, values] of got.entries()) expect(largestDifference(values, logprobs[i]!)).toBeLessThan(tolerance)
})
