/** Many sequences at once against each alone. */
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { randomStream } from '../../lib/common/random.js'
import { Engine } from '../../lib/engine/engine.js'
import type { EngineRequest } from '../../lib/engine/request.js'
import { drain, type NewToken } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/model.js'
import { drawnIfEmulated } from '../drawn.js'
import { describeFamilies, familyNames, loadFamily } from '../golden/families.js'
import { loadTiny } from '../golden/tiny-models.js'
import { liveBytes } from '../live-bytes.js'
import { lacksCpu, lacksEmulation, lacksTimeToEmulate, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const before = liveBytes(device)
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(before))

const tokens = (seed: number, count: number): number[] => {
  const random = randomStream(seed, 'engine test')
  return Array.from({ length: count }, () => 3 + random.integer(50))
}

type Request = Omit<EngineRequest, 'random'> & { seed: number; sample?: number }

const request = (ids: readonly number[], changes: Partial<Request> = {}): Request => ({
  ids,
  maxNewTokens: 12,
  sampling: { temperature: 0.8, topK: 0, topP: 1 },
  stopIds: new Set<number>(),
  seed: 1,
  ...changes,
})

const withDraws = ({ seed, sample = 0, ...one }: Request): EngineRequest => ({
  ...one,
  random: randomStream(seed, 'generate', sample),
})

async function write(engine: Engine, one: Request): Promise<number[]> {
  const ids: number[] = []
  await drain(engine.write(withDraws(one)), ({ id }) => ids.push(id))
  return ids
}

/** What each request gives alone, in an engine of its own. */
async function alone(model: Model, requests: readonly Request[]): Promise<number[][]> {
  const results: number[][] = []
  for (const one of requests) {
    await using engine = new Engine(model, { tokens: 512 })
    results.push(await write(engine, one))
  }
  return results
}

/** Lengths around those of pages, with beginnings in common. */
const shared = tokens(0, 130)
const requests = [1, 5, 63, 64, 65, 100, 129, 150].map((length, i) =>
  request(i % 2 === 0 ? tokens(i, length) : [...shared, ...tokens(i, 100)].slice(0, length), { seed: i }),
)

let known: Promise<number[][]> | undefined
/** What the base without adapters gives for each of the requests alone. */
const ofBase = (model: Model) => {
  known ??= alone(model, requests)
  return known
}

test('all at once as each alone', async () => {
  using model = await loadTiny('tiny-untied')
  const expected = await ofBase(model)
  await using engine = new Engine(model, { tokens: 4096 })
  expect(await Promise.all(requests.map((one) => write(engine, one)))).toEqual(expected)
  expect(engine.usage).toMatchObject({ running: 0, waiting: 0, pagesUsed: 0 })
})

needing(lacksCpu).test('in float32, log-probabilities have the same bits', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', lora({ rank: 4 }))
  const random = randomStream(1, 'bits')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
  const asking = requests.map((one, i) => ({ ...one, topLogprobs: 3, adapters: i % 3 === 0 ? [] : ['a'] }))
  const told = async (engine: Engine, one: Request) => {
    const tokens: NewToken[] = []
    await drain(engine.write(withDraws(one)), (token) => tokens.push(token))
    return tokens
  }
  const expected: NewToken[][] = []
  for (const one of asking) {
    await using engine = new Engine(model, { tokens: 512 })
    expected.push(await told(engine, one))
  }
  for (const tokens of [512, 4096]) {
    await using engine = new Engine(model, { tokens })
    expect(await Promise.all(asking.map((one) => told(engine, one)))).toEqual(expected)
  }
})

test('where the memory is too small for all, the youngest wait and are read again', async () => {
  using model = await loadTiny('tiny-untied')
  const expected = await ofBase(model)
  await using engine = new Engine(model, { tokens: 256, sequences: 6 })
  expect(await Promise.all(requests.map((one) => write(engine, one)))).toEqual(expected)
})

test('a beginning that sequences have in common is kept once', async () => {
  using model = await loadTiny('tiny-untied')
  await using engine = new Engine(model, { tokens: 4096 })
  const samples = Array.from({ length: 8 }, (_, sample) => request(shared, { sample }))
  const all = Promise.all(samples.map((one) => write(engine, one)))
  let most = 0
  const watch = setInterval(() => {
    most = Math.max(most, engine.usage.pagesUsed)
  })
  const results = await all
  clearInterval(watch)
  expect(new Set(results.map(String)).size).toBeGreaterThan(1)
  expect(most).toBeLessThanOrEqual(2 + 8)
  expect(results).toEqual(await alone(model, samples))
})

test('as generation of one sequence has it', async () => {
  using model = await loadTiny('tiny-untied')
  const ids = tokens(3, 70)
  using cache = model.createCache(100)
  const greedy = { temperature: 0, topK: 0, topP: 1, uniform: 0 }
  const expected = [await model.nextToken(ids, cache, greedy)]
  while (expected.length < 12) expected.push(await model.nextToken([expected.at(-1)!], cache, greedy))
  await using engine = new Engine(model, { tokens: 128 })
  expect(await write(engine, request(ids, { sampling: { temperature: 0, topK: 0, topP: 1 } }))).toEqual(expected)
})

test('sequences of several adapters beside each other', async () => {
  using model = await loadTiny('tiny-untied')
  for (const [name, method] of [
    ['a', lora({ rank: 4 })],
    ['b', mora({ rank: 2 })],
    ['c', lora({ rank: 2, modulesToSave: ['norms'] })],
  ] as const) {
    await model.addAdapter(name, method)
    for (const { parameter } of model.trainableParameters()) {
      const random = randomStream(1, name)
      parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
    }
    model.setActiveAdapters([])
  }
  const mixed = requests.map((one, i) => ({
    ...one,
    adapters: [[], ['a'], ['b'], [{ name: 'a', scale: 0.5 }], ['c'], ['a', 'b']][i % 6]!,
  }))
  const expected = await alone(model, mixed)
  await using engine = new Engine(model, { tokens: 4096 })
  expect(await Promise.all(mixed.map((one) => write(engine, one)))).toEqual(expected)
  expect(expected[1]).not.toEqual((await alone(model, [{ ...requests[1]!, adapters: [] }]))[0])
})

needing(lacksCpu).test('the order in which adapters are chosen changes no bit, alone or beside others', async () => {
  using model = await loadTiny('tiny-untied')
  const random = randomStream(1, 'order')
  for (const name of ['a', 'b']) await model.addAdapter(name, lora({ rank: 4 }))
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
  const told = async (engine: Engine, adapters: string[]) => {
    const tokens: NewToken[] = []
    const one = request(shared, { adapters, topLogprobs: 3 })
    await drain(engine.write(withDraws(one)), (token) => tokens.push(token))
    return tokens
  }
  await using engine = new Engine(model, { tokens: 4096 })
  const expected = await told(engine, ['a', 'b'])
  const choices = [['b', 'a'], ['a'], ['b', 'a'], ['b']]
  const [first, , third] = await Promise.all(choices.map((adapters) => told(engine, adapters)))
  expect([first, third]).toEqual([expected, expected])
})

needing(lacksTimeToEmulate).test('many sequences with one signal warn of no leak', async () => {
  using model = await loadTiny('tiny-untied')
  await using engine = new Engine(model, { tokens: 1024 })
  const warnings: Error[] = []
  const note = (warning: Error) => void warnings.push(warning)
  process.on('warning', note)
  const { signal } = new AbortController()
  await Promise.all(Array.from({ length: 12 }, (_, seed) => write(engine, request([5], { seed, signal }))))
  process.off('warning', note)
  expect(warnings).toEqual([])
})

describe('leaving', () => {
  needing(lacksTimeToEmulate).test(
    'who leaves the loop frees the pages within a step; an aborted signal ends with its reason',
    async () => {
      using model = await loadTiny('tiny-untied')
      await using engine = new Engine(model, { tokens: 1024 })
      const controller = new AbortController()
      const aborted = write(engine, request(tokens(1, 70), { maxNewTokens: 200, signal: controller.signal }))
      const whole = write(engine, request(tokens(2, 70), { maxNewTokens: 40 }))
      for await (const _ of engine.write(withDraws(request(tokens(3, 70), { maxNewTokens: 200 })))) break
      controller.abort(new Error('enough'))
      await expect(aborted).rejects.toThrow('enough')
      expect(await whole).toHaveLength(40)
      expect(engine.usage).toEqual({ running: 0, waiting: 0, pagesUsed: 0, pagesFree: 16 })
    },
  )

  needing(lacksTimeToEmulate).test('closing ends what runs with a sentence', async () => {
    using model = await loadTiny('tiny-untied')
    const engine = new Engine(model, { tokens: 1024 })
    const running = write(engine, request(tokens(1, 70), { maxNewTokens: 200 }))
    const ended = expect(running).rejects.toMatchObject({ code: 'closed' })
    await engine.close()
    await ended
    await expect(write(engine, request([5]))).rejects.toMatchObject({ code: 'closed' })
  })

  needing(lacksTimeToEmulate).test('a prompt that leaves no room is refused', async () => {
    using model = await loadTiny('tiny-untied')
    await using engine = new Engine(model, { tokens: 64 })
    await expect(write(engine, request(tokens(1, 65)))).rejects.toMatchObject({ code: 'prompt-too-long' })
    expect(await write(engine, request(tokens(1, 60), { maxNewTokens: 100 }))).toHaveLength(5)
  })
})

describe('what ends one sequence leaves the others as they are', () => {
  const anything = () => Promise.resolve(new Int32Array(4).fill(-1))
  const failing = (): never => {
    throw new Error('its own')
  }
  const failures: Record<string, EngineRequest['constraint']> = {
    'a mask': { mask: failing, accept: () => {} },
    'a mask that is awaited': { mask: () => Promise.reject(new Error('its own')), accept: () => {} },
    'a token that is not accepted': { mask: anything, accept: failing },
  }

  test.each(drawnIfEmulated('failures of a constraint', Object.entries(failures), 1))('%s', async (_, constraint) => {
    using model = await loadTiny('tiny-untied')
    const expected = await ofBase(model)
    await using engine = new Engine(model, { tokens: 4096 })
    const failed = expect(write(engine, request(tokens(9, 30), { constraint }))).rejects.toThrow('its own')
    expect(await Promise.all(requests.map((one) => write(engine, one)))).toEqual(expected)
    await failed
  })

  needing(lacksTimeToEmulate).test('an adapter that leaves the model', async () => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', lora({ rank: 4 }))
    model.setActiveAdapters([])
    const expected = await ofBase(model)
    await using engine = new Engine(model, { tokens: 4096 })
    const controller = new AbortController()
    const ended: Promise<void>[] = []
    for (const maxNewTokens of [60, 60]) {
      const one = write(engine, request(tokens(9, 30), { adapters: ['a'], maxNewTokens, signal: controller.signal }))
      ended.push(expect(one).rejects.toMatchObject({ code: 'unknown-adapter' }))
    }
    const others = requests.map((one) => write(engine, one))
    for await (const _ of engine.write(withDraws(request([5], { adapters: ['a'] })))) break
    model.removeAdapter('a')
    expect(await Promise.all(others)).toEqual(expected)
    await Promise.all(ended)
  })

  needing(lacksTimeToEmulate).test(
    'a constraint may be freed once its sequence has ended, however that was',
    async () => {
      using model = await loadTiny('tiny-untied')
      await using engine = new Engine(model, { tokens: 4096 })
      const late: string[] = []
      const bound = (changes: Partial<Request> = {}) => {
        const state = { isFreed: false }
        const asked = (what: string) => void (state.isFreed && late.push(what))
        const constraint = {
          mask: () => {
            asked('mask')
            return anything()
          },
          accept: () => asked('accept'),
        }
        return { one: withDraws(request(tokens(9, 30), { constraint, maxNewTokens: 60, ...changes })), state }
      }
      const others = Promise.all(requests.map((one) => write(engine, one)))
      const leaving = async () => {
        const { one, state } = bound()
        let count = 0
        for await (const _ of engine.write(one)) if (++count === 4) break
        state.isFreed = true
      }
      const aborted = async () => {
        const controller = new AbortController()
        const { one, state } = bound({ signal: controller.signal })
        setTimeout(() => controller.abort(new Error('enough')))
        await expect(drain(engine.write(one))).rejects.toThrow('enough')
        state.isFreed = true
      }
      const whole = async () => {
        const { one, state } = bound()
        await drain(engine.write(one))
        state.isFreed = true
      }
      await Promise.all([leaving(), aborted(), whole(), others])
      expect(late).toEqual([])
    },
  )
})

test('work on the model alone runs between two steps, and what changed is read again', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', lora({ rank: 4 }))
  const random = randomStream(1, 'exclusive')
  await using engine = new Engine(model, { tokens: 1024 })
  const one = request(tokens(1, 70), { maxNewTokens: 30 })
  const running = write(engine, one)
  let steps = 0
  await engine.exclusive(async () => {
    expect(engine.usage.running).toBe(1)
    for (const { parameter } of model.trainableParameters())
      parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
    steps++
  })
  await running
  expect(steps).toBe(1)
  expect(await write(engine, one)).toEqual((await alone(model, [one]))[0])
})

test('a sequence goes on over a change of weights, and no later one begins with what it has read', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', lora({ rank: 4 }))
  const random = randomStream(1, 'change')
  await using engine = new Engine(model, { tokens: 4096 })
  const long = request(tokens(1, 130), { maxNewTokens: 80 })
  const written: number[] = []
  const later: Promise<number[]>[] = []
  const one = request(tokens(1, 130), { seed: 4 })
  await drain(engine.write(withDraws(long)), ({ id }) => {
    written.push(id)
    if (written.length !== 20) return
    for (const { parameter } of model.trainableParameters())
      parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.2 * random.normal()))
    later.push(write(engine, one))
  })
  expect(written).toHaveLength(80)
  const grown = request([...long.ids, ...written])
  expect([await later[0]!, await write(engine, grown)]).toEqual(await alone(model, [one, grown]))
})

needing(lacksTimeToEmulate).test(
  'work on the model that asks for more at once gets it, with no sequence to wake the engine',
  async () => {
    using model = await loadTiny('tiny-untied')
    await using engine = new Engine(model, { tokens: 1024 })
    const done: number[] = []
    for (const turn of [1, 2, 3]) await engine.exclusive(async () => void done.push(turn))
    await expect(engine.exclusive((() => 1) as never)).resolves.toBe(1)
    const failing = () => {
      throw new Error('no')
    }
    await expect(engine.exclusive(failing)).rejects.toThrow('no')
    expect(done).toEqual([1, 2, 3])
  },
)

/** On the emulator, the ones with states. */
const families = lacksEmulation === null ? ['lfm2'] : familyNames

describeFamilies(families, (name, folder) => {
  test(`${name}: all at once as each alone, and as with a cache of its own`, async () => {
    using model = await loadFamily(folder)
    const { vocabularySize } = model.config
    const greedy = { temperature: 0, topK: 0, topP: 1 }
    const prompts = [3, 17, 1, 80].map((length, i) => tokens(i, length).map((id) => id % vocabularySize))
    const calls = prompts.map((ids) => request(ids, { sampling: greedy, maxNewTokens: 6 }))
    const expected: number[][] = []
    for (const ids of prompts) {
      using cache = model.createCache(100)
      let next = await model.nextToken(ids, cache, { ...greedy, uniform: 0 })
      const chosen = [next]
      for (; chosen.length < 6; chosen.push(next))
        next = await model.nextToken([next], cache, { ...greedy, uniform: 0 })
      expected.push(chosen)
    }
    await using engine = new Engine(model, { tokens: 1024, sequences: 3 })
    expect(await Promise.all(calls.map((one) => write(engine, one)))).toEqual(expected)
  })
})
