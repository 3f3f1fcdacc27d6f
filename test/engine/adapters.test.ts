/** Texts with different adapters in one step against each alone. */
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { OPERATORS } from '../../lib/adapters/methods/mora-operators.js'
import { randomStream } from '../../lib/common/random.js'
import { Engine } from '../../lib/engine/engine.js'
import { drain, type NewToken } from '../../lib/generate/index.js'
import { type AdapterChoice, loadModel, type Model } from '../../lib/models/index.js'
import { goldenPath, largestDifference } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { lacksCpu, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const before = liveBytes(device)
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(before))

type LoadOptions = NonNullable<Parameters<typeof loadModel>[1]>

/** Two adapters of each operator and one of twice the rank, and two LoRAs. */
const METHODS = new Map<string, Parameters<Model['addAdapter']>[1]>([
  ...[4, 8].map((rank) => [`lora ${rank}`, lora({ rank })] as const),
  ...OPERATORS.flatMap((operator) =>
    [2, 2, 4].map((rank, i) => [`${operator} ${i}`, mora({ rank, operator })] as const),
  ),
])

/** Each adapter alone; two texts with the same one; the base; and several adapters of one text. */
const CHOICES: AdapterChoice[] = [
  ...[...METHODS.keys()].map((name) => [name]),
  [{ name: 'rotation 0', scale: 0.5 }],
  ['sharing 1'],
  [],
  ['lora 4', 'rotation 0', 'rotation 1'],
  ['sharing 0', 'sharing 1', 'decoupling 2'],
]

async function load(options: LoadOptions): Promise<Model> {
  const model = await loadModel(goldenPath('tiny-untied/model'), {
    device: process.env.MORA_TEST_DEVICE ?? 'cpu',
    ...options,
  })
  for (const [name, method] of METHODS) {
    await model.addAdapter(name, method)
    model.setActiveAdapters([name])
    const random = randomStream(1, name)
    for (const { parameter } of model.trainableParameters())
      parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
    model.setActiveAdapters([])
  }
  return model
}

async function write(engine: Engine, adapters: AdapterChoice): Promise<NewToken[]> {
  const told: NewToken[] = []
  const request = {
    ids: [5, 7, 11],
    maxNewTokens: 5,
    sampling: { temperature: 0, topK: 0, topP: 1 },
    stopIds: new Set<number>(),
    random: randomStream(1, 'greedy'),
    topLogprobs: 2,
    adapters,
  }
  await drain(engine.write(request), (token) => told.push(token))
  return told
}

needing(lacksCpu).test('in float32, texts have the same bits beside texts with other adapters', async () => {
  using model = await load({ dtype: 'float32', threads: 1 })
  await using engine = new Engine(model, { tokens: 64 * CHOICES.length })
  const expected: NewToken[][] = []
  for (const adapters of CHOICES) expected.push(await write(engine, adapters))
  expect(await Promise.all(CHOICES.map((adapters) => write(engine, adapters)))).toEqual(expected)
  expect(new Set(expected.map((told) => told[0]!.logprob)).size).toBe(CHOICES.length - 1)
})

test.each<[string, LoadOptions, number]>([
  ['float32', { dtype: 'float32' }, 1e-5],
  ['bfloat16', { dtype: 'bfloat16' }, 3e-2],
  ['bfloat16 beside weights in Q8_0', { dtype: 'bfloat16', quantise: 'q8_0' }, 8e-2],
])('in %s, logits are those of each text alone', async (_, options, tolerance) => {
  using model = await load({ ...options, threads: 1 })
  const base = model.withAdapters([])
  const views = CHOICES.map((adapters) => model.withAdapters(adapters))
  /** Reads three tokens and then one after the other; each text has rows of its own. */
  const read = async (texts: readonly number[]): Promise<Float32Array[]> => {
    using memory = model.createMemory({ capacity: 8 * texts.length, slots: texts.length })
    const all: Float32Array[] = []
    for (const [from, to] of [
      [0, 3],
      [3, 4],
      [4, 5],
      [5, 6],
    ] as const) {
      const parts = texts.map((text, slot) => ({
        ids: Array.from({ length: to - from }, (_, i) => 3 + ((from + i + text) % 50)),
        known: to,
        rows: Array.from({ length: to }, (_, token) => 8 * slot + token),
        slot,
        rowLength: 1,
        ...(texts.length > 1 && { factors: views[text]!.rowFactors! }),
      }))
      using logits = (texts.length > 1 ? base : views[texts[0]!]!).nextLogitsOf(parts, memory)
      all.push((await logits.data()) as Float32Array)
    }
    return all
  }
  const together = await read([...CHOICES.keys()])
  for (const text of CHOICES.keys()) {
    for (const [step, alone] of (await read([text])).entries()) {
      const own = together[step]!.subarray(text * alone.length, (text + 1) * alone.length)
      const size = Math.max(...alone.map(Math.abs))
      expect(largestDifference(own, alone) / size, `${CHOICES[text]} at step ${step}`).toBeLessThan(tolerance)
    }
  }
})
