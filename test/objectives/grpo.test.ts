/** GRPO in a run: answers of a model, rewards, several turns; resumed, over ranks, and what goes wrong. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { Engine, type EngineRequest } from '../../lib/engine/index.js'
import { initModel } from '../../lib/models/load-model.js'
import type { Model } from '../../lib/models/model.js'
import { type GrpoOptions, grpo } from '../../lib/objectives/grpo.js'
import type { Objective } from '../../lib/objectives/objective.js'
import type { Question } from '../../lib/objectives/questions.js'
import type { JudgedAnswer } from '../../lib/objectives/rewards.js'
import type { SampleContext } from '../../lib/objectives/rollouts.js'
import { type Tools, toolSchemas } from '../../lib/objectives/tools.js'
import type { Message } from '../../lib/text/template.js'
import { loadTokenizer } from '../../lib/text/tokenizer.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { drawn } from '../drawn.js'
import { tinyConfig } from '../fuzz/targets/tiny-model.js'
import { byteLevel, configOf } from '../fuzz/targets/tokenizers.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { localRanks } from '../train/local-ranks.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const TEMPLATE = `{% for m in messages %}<{{ m.role }}>{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>{{ {"name": c.function.name, "arguments": c.function.arguments} | tojson }}</tool_call>{% endfor %}{% endif %}{{ m.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`

async function tinyModel(): Promise<Model> {
  const tokenizer = byteLevel()
  const own = folder()
  writeFileSync(join(own, 'config.json'), JSON.stringify({ ...tinyConfig, max_position_embeddings: 256 }))
  writeFileSync(join(own, 'tokenizer.json'), JSON.stringify(tokenizer))
  const config = { ...configOf(tokenizer), chat_template: TEMPLATE }
  writeFileSync(join(own, 'tokenizer_config.json'), JSON.stringify(config))
  const { kind: device } = testDevice()
  return initModel(join(own, 'config.json'), {
    device: device as 'cpu',
    dtype: 'float32',
    threads: 1,
    tokenizer: await loadTokenizer(own),
  })
}

const even = ({ ids }: { ids: readonly number[] }) => ids.filter((id) => id % 2 === 0).length / ids.length
const short = ({ ids }: { ids: readonly number[] }) => -ids.length / 10
const data = ['one', 'two words', 'three', 'four', 'five', 'six'].map((prompt, number) => ({
  prompt,
  number,
  weight: [1, 2.5][number % 2],
}))

const course = (changes: Partial<GrpoOptions>, more: Partial<TrainOptions> = {}): TrainOptions =>
  ({
    objective: grpo({ rewards: { even, short }, groupSize: 4, maxNewTokens: 6, beta: 0.1, ...changes }),
    method: 'lora',
    rank: 2,
    learningRate: 0.01,
    scheduler: 'constant',
    batchSize: 2,
    maxSteps: 6,
    data,
    ...more,
  }) as TrainOptions

interface Ended {
  steps: { loss: number; gradNorm: number; metrics: Record<string, number> }[]
  notices: string[]
  adapter: Float32Array[]
}

const nothingYet = (): Ended => ({ steps: [], notices: [], adapter: [] })

async function run(
  changes: Partial<GrpoOptions> = {},
  more: Partial<TrainOptions> = {},
  ended = nothingYet(),
): Promise<Ended> {
  using model = await tinyModel()
  const run = train(model, course(changes, more))
  try {
    for await (const event of run) {
      if (event.type === 'notice') ended.notices.push(event.message)
      if (event.type !== 'step') continue
      const { samplingSeconds, rewardSeconds, ...metrics } = event.metrics ?? {}
      ended.steps.push({ loss: event.loss, gradNorm: event.gradNorm, metrics })
    }
    await run.finished
  } finally {
    for (const { parameter } of model.trainableParameters())
      ended.adapter.push((await parameter.data()) as Float32Array)
  }
  return ended
}

/** A run without a step that has a gradient, which fails at its end. */
async function runInVain(changes: Partial<GrpoOptions>, more: Partial<TrainOptions>): Promise<Ended> {
  const ended = nothingYet()
  await expect(run(changes, more, ended)).rejects.toMatchObject({ code: 'untrained' })
  return ended
}

const closely = (got: Ended, wanted: Ended) => {
  for (const [i, step] of wanted.steps.entries()) {
    expect(got.steps[i]!.loss).toBeCloseTo(step.loss, 5)
    for (const [name, value] of Object.entries(step.metrics))
      expect(got.steps[i]!.metrics[name], name).toBeCloseTo(value, 4)
  }
}

test('answers fit a schema, without which a run does not go on', async () => {
  const output = join(folder(), 'out')
  const schema = {
    type: 'object',
    properties: { a: { type: 'boolean' } },
    required: ['a'],
    additionalProperties: false,
  }
  const said = { rewards: { isTrue: ({ completion }: JudgedAnswer) => Number(completion.includes('true')) } }
  await run({ ...said, schema, maxNewTokens: 30 }, { output, maxSteps: 1 })
  const lines = readFileSync(join(output, 'rollouts.jsonl'), 'utf8').trim().split('\n')
  for (const line of lines)
    expect(JSON.parse((JSON.parse(line) as { completion: string }).completion)).toEqual({ a: expect.any(Boolean) })
  const resumed = run({ ...said, maxNewTokens: 30 }, { output, maxSteps: 2, resume: true })
  await expect(resumed).rejects.toMatchObject({ code: 'changed-run', message: expect.stringContaining('schema') })
  expect(() => grpo({ ...said, schema, tools: { add: () => 1 } })).toThrow(
    'The schema of grpo cannot be combined with tools',
  )
})

test('a run raises its reward, and tells rewards and answers', async () => {
  const output = join(folder(), 'out')
  const { steps } = await run(
    { rewards: { even }, beta: 0, groupSize: 8 },
    { method: 'full', rank: undefined, learningRate: 0.02, maxSteps: 30, output, batchSize: 4 },
  )
  const mean = (some: Ended['steps']) => some.reduce((sum, { metrics }) => sum + metrics.reward!, 0) / some.length
  expect(mean(steps.slice(-5))).toBeGreaterThan(mean(steps.slice(0, 5)) + 0.2)
  const lines = readFileSync(join(output, 'rollouts.jsonl'), 'utf8').trimEnd().split('\n')
  expect(lines).toHaveLength(30 * 32)
  expect(Object.keys(JSON.parse(lines[0]!))).toEqual(['step', 'prompt', 'completion', 'rewards', 'advantage'])
  const metrics = readFileSync(join(output, 'metrics.jsonl'), 'utf8').split('\n')
  expect(JSON.parse(metrics[0]!)).toMatchObject({ 'reward/even': expect.any(Number), zeroStd: 0 })
})

test('weights of prompts weigh their answers, and a prompt of weight 0 is not asked', async () => {
  const firstStep = async (weights: readonly number[]) => {
    const asked: string[] = []
    const noted = ({ prompt, ids }: JudgedAnswer) => {
      asked.push(prompt)
      return even({ ids })
    }
    const rows = data.slice(0, 3).map((row, i) => ({ ...row, weight: weights[i] }))
    const { steps } = await run({ rewards: { noted } }, { data: rows, maxSteps: 1, shuffle: false })
    return { norm: steps[0]!.gradNorm, asked: [...new Set(asked)] }
  }
  const equal = await firstStep([1, 1, 1])
  expect((await firstStep([3, 3, 3])).norm).toBeCloseTo(equal.norm, 5)
  expect((await firstStep([9, 1, 1])).norm).not.toBeCloseTo(equal.norm, 3)
  expect((await firstStep([0, 1, 1])).asked).toEqual(['two words', 'three'])
})

describe.each([
  ['answers used once', {}],
  ['answers used for several steps', { stepsPerGeneration: 2, numIterations: 2, lossType: 'grpo' as const }],
  ['rewards scaled over the batch', { scaleRewards: 'batch' as const, importanceSamplingMode: 'token_mask' as const }],
])('%s', (name, changes: Partial<GrpoOptions>) => {
  test('give the same in micro-batches and over two ranks', async () => {
    const whole = await run(changes)
    expect(whole.steps.some(({ gradNorm }) => gradNorm > 0)).toBe(true)
    closely(await run(changes, { microBatchSize: 1, packing: false }), whole)
    for (const one of await Promise.all(localRanks(2).map((ranks) => run(changes, { ranks })))) closely(one, whole)
  })

  test('give the same bits after a resumption at any step', async () => {
    const whole = await run(changes, { output: join(folder(), 'whole') })
    for (const stop of drawn(`stops of ${name}`, [1, 2, 3, 5], 1)) {
      const output = join(folder(), `stopped-${stop}`)
      await run(changes, {
        output,
        saveEvery: stop,
        onEvent: async (event) => {
          if (event.type === 'checkpoint') throw new Error('killed')
        },
      }).catch(() => {})
      const rest = await run(changes, { output, resume: true })
      expect(rest.adapter).toEqual(whole.adapter)
      const rollouts = (of: string) => readFileSync(join(folder(), of, 'rollouts.jsonl'), 'utf8')
      expect(rollouts(`stopped-${stop}`)).toBe(rollouts('whole'))
    }
  })
})

test('a run that fails within a rollout goes on to the same bits', async () => {
  const whole = await run()
  for (const last of [3, 11, 30]) {
    let calls = 0
    const failing = (answer: { ids: readonly number[] }) => {
      if (++calls > last) throw new Error('killed')
      return even(answer)
    }
    const output = join(folder(), `failed-${last}`)
    await expect(run({ rewards: { even: failing, short } }, { output, saveEvery: 1 })).rejects.toThrow('killed')
    const resumed = { output, resume: true as const, saveEvery: 1, overwrite: false }
    if (last === 30)
      await expect(run({}, resumed)).rejects.toThrow(/had rewards of functions .*allowChanges: \['rewards'\]/)
    const rest = await run({}, { ...resumed, allowChanges: ['rewards'] })
    expect(rest.adapter).toEqual(whole.adapter)
  }
})

test('a rank without a prompt of a step takes it all the same', async () => {
  const one = { scaleRewards: 'batch' as const }
  const whole = await run(one, { batchSize: 1, maxSteps: 3 })
  for (const other of await Promise.all(localRanks(2).map((ranks) => run(one, { ranks, batchSize: 1, maxSteps: 3 }))))
    closely(other, whole)
})

test.each([{}, { scaleRewards: 'batch' as const }])(
  'ranks end together if one is aborted while it samples: %o',
  async (one) => {
    const aborting = new AbortController()
    const ends = localRanks(2).map((ranks, rank) => {
      let calls = 0
      const judge = async ({ ids }: { ids: readonly number[] }) => {
        if (rank === 1 && ++calls === 6) aborting.abort(new Error('enough'))
        return ids.length
      }
      return run({ ...one, rewards: { judge } }, { ranks, ...(rank === 1 && { signal: aborting.signal }) })
    })
    const [first, second] = await Promise.allSettled(ends)
    expect(first!.status).toBe('fulfilled')
    expect(second).toMatchObject({ status: 'rejected', reason: { message: 'enough' } })
  },
)

test('a resumed run may use answers longer than before', async () => {
  const output = join(folder(), 'longer')
  await run({}, { output, maxSteps: 3 })
  const changes = { numIterations: 2, stepsPerGeneration: 2 }
  const { steps } = await run(changes, { output, maxSteps: 8, resume: true, allowChanges: ['all'] })
  expect(steps).toHaveLength(5)
})

test('memory stays flat over 200 rollouts', async () => {
  using model = await tinyModel()
  const inUse: number[] = []
  for await (const event of train(model, course({ groupSize: 4, numIterations: 2 }, { maxSteps: 50 })))
    if (event.type === 'step') inUse.push(model.device.memory().inUse)
  // Odd and even steps differ by nothing that is kept.
  expect(new Set(inUse.slice(2)).size).toBeLessThanOrEqual(2)
  expect(inUse.at(-1)).toBe(inUse[3])
})

test('evaluation answers each prompt once, and its loss is minus the reward', async () => {
  const evaluations: { evalLoss: number; metrics?: Readonly<Record<string, number>> }[] = []
  await run(
    {},
    {
      evalData: data.slice(0, 3),
      evalEvery: 3,
      onEvent: (event) => {
        if (event.type === 'evaluation') evaluations.push(event)
      },
    },
  )
  expect(evaluations).toHaveLength(2)
  for (const { evalLoss, metrics } of evaluations) expect(evalLoss).toBeCloseTo(-metrics!.reward!, 12)
})

describe('what goes wrong', () => {
  test('equal rewards take no step', async () => {
    const { adapter, steps, notices } = await runInVain({ rewards: { same: () => 1 }, beta: 0 }, { maxSteps: 2 })
    expect(steps.map(({ gradNorm, metrics }) => [gradNorm, metrics.zeroStd])).toEqual([
      [0, 1],
      [0, 1],
    ])
    const b = adapter.filter((_, i) => i % 2 === 1)
    expect(b.every((values) => values.every((value) => value === 0))).toBe(true)
    expect(notices.filter((notice) => notice.includes('rewards within each group were equal'))).toHaveLength(1)
  })

  test('answers that are all cut off and masked take no step', async () => {
    const settings = { maxNewTokens: 1, maskTruncatedCompletions: true, beta: 0 }
    const { steps, notices } = await runInVain(settings, { maxSteps: 1 })
    expect(Number.isFinite(steps[0]!.loss)).toBe(true)
    expect(notices).toContainEqual(expect.stringMatching(/^Step 1 had no gradient: no token of its answers counts/))
  })

  test.each([
    ['NaN', () => Number.NaN, 'it is NaN'],
    ['a text', () => 'good' as unknown as number, 'it is no number \\(string\\)'],
    ['an error', () => Promise.reject(new Error('no network')), 'no network'],
    ['a bug', () => (({}) as { next(): number }).next(), 'TypeError: {}.next is not a function'],
    ['silence', () => new Promise<number>(() => {}), 'no answer within 0.05 seconds'],
  ])('a reward that gives %s is named, or replaced', async (_, reward, why) => {
    const rewards = { judge: reward }
    const failed = run({ rewards, rewardTimeout: 0.05 }, { maxSteps: 1 })
    await expect(failed).rejects.toMatchObject({
      code: 'failed-reward',
      message: expect.stringMatching(`The reward judge .*${why}`),
    })
    const { steps } = await runInVain({ rewards, rewardTimeout: 0.05, failedReward: -1 }, { maxSteps: 1 })
    expect(steps[0]!.metrics.reward).toBe(-1)
  })

  test('prompts without room for an answer are left out, and said', async () => {
    const long = { prompt: 'x'.repeat(300) }
    const { notices } = await run({}, { maxSteps: 1, maxLength: 64, data: [...data, long] })
    expect(notices.join()).toMatch(/1 prompts are left out: with an answer of 6 tokens/)
    await expect(run({}, { maxSteps: 1, data: [long] })).rejects.toMatchObject({ code: 'empty-data' })
  })

  test.each([
    [{ rewards: [] }, 'needs rewards'],
    [{ rewards: { one: 1 as never } }, 'Expected a function for the reward one'],
    [{ rewards: [short, short] }, 'short twice'],
    [{ rewards: [short], rewardWeights: [1, 2] }, 'a weight for each of the 1 rewards'],
    [{ rewards: [short], tools: { search: 1 as never } }, 'the tool search'],
    [{ rewards: [short], tools: 5 as never }, 'Expected functions by name for tools of grpo but received 5.'],
    [{ rewards: [short], importanceSamplingMode: 'token_mask' as const, temperature: 0.5 }, 'importanceSamplingMode'],
    [{ rewards: [short], groupSize: 1 }, 'groupSize'],
  ])('options %o are refused', (options, message) => {
    expect(() => grpo(options as GrpoOptions)).toThrow(message)
  })

  test('functions that the template does not tell the model of are refused, those of rows are counted', async () => {
    const tools = { add: () => 1 }
    await expect(run({ tools }, { maxSteps: 1 })).rejects.toMatchObject({
      code: 'unfit-template',
      message: expect.stringContaining('would not know of the functions add: the chat template shows it no tools'),
    })
    const own = data.map((row) => ({ ...row, tools: toolSchemas(tools) }))
    const { notices } = await run({}, { maxSteps: 1, data: own })
    expect(notices.join()).toContain('shows nothing of the tools of 6 prompts')
  })

  test('a function that fails is said once, with its first error', async () => {
    let step = 0
    const objective: Objective = {
      name: 'own',
      loss: async (model, batch, options) => ({ ...(await model.lossAsync(batch, options)), weight: 1 }),
      sample: async (rows) => ({
        rows,
        rollouts: new Map(rows.map(({ row }) => [row, { advantage: 1 }])),
        metrics: {},
        records: rows.map(() => ({})),
        toolError: ++step > 1 ? `look: TypeError: db.prepare is not a function (${step})` : undefined,
      }),
    }
    const { notices } = await run({}, { objective, maxSteps: 4, data: [{ input_ids: [1, 2, 3] }], batchSize: 1 })
    expect(notices.filter((notice) => notice.includes('failed'))).toEqual([
      'A tool that the model called failed (toolErrors in metrics.jsonl): look: TypeError: db.prepare is not a function (2). Later failures are reported to the model alone.',
    ])
  })

  test('prompts may be those of the objective', async () => {
    const { steps } = await run({ prompts: data }, { data: undefined, maxSteps: 1 })
    expect(steps).toHaveLength(1)
  })

  test.each([
    ['ts', 'export const short = ({ completion }: { completion: string }): number => -completion.length'],
    ['mjs', 'export const tools = {}\nexport function short({ completion }) { return -completion.length }'],
  ])('rewards may be those of a module: %s', async (ending, text) => {
    const rewards = join(folder(), `rewards.${ending}`)
    writeFileSync(rewards, text)
    using model = await tinyModel()
    const options = { ...course({}), objective: 'grpo', rewards, groupSize: 2, maxNewTokens: 3, maxSteps: 1 }
    const events: string[] = []
    for await (const event of train(model, options as TrainOptions))
      if (event.type === 'step') events.push(...Object.keys(event.metrics!))
    expect(events).toContain('reward/short')
  })

  test.each([
    ['', 'missing-file'],
    ['export const one = 1', 'malformed-module'],
    ['export const one = () => {', 'malformed-module'],
  ])('a module of rewards that cannot be used is named: %s', async (text, code) => {
    const rewards = join(folder(), 'rewards.ts')
    if (text) writeFileSync(rewards, text)
    using model = await tinyModel()
    const run = train(model, { ...course({}), objective: 'grpo', rewards } as TrainOptions)
    await expect(run.finished).rejects.toMatchObject({ code, message: expect.stringContaining(rewards) })
  })

  test('the objective by its name alone needs rewards', async () => {
    using model = await tinyModel()
    const run = train(model, { ...course({}), objective: 'grpo' } as TrainOptions)
    await expect(run.finished).rejects.toMatchObject({ code: 'missing-option' })
  })
})

describe('several turns', () => {
  const question = async (model: Model, tools: Tools = {}): Promise<Question> => {
    const template = model.tokenizer!.template!
    const messages = [{ role: 'user', content: 'How much?' }]
    const text = await template.render(messages, { addGenerationPrompt: true })
    const ids = Int32Array.from(await model.tokenizer!.encode(text))
    return {
      ids,
      mask: new Uint8Array(ids.length),
      prompt: 'How much?',
      messages,
      row: { answer: '6' },
      template,
      context: { tools: toolSchemas(tools) },
    }
  }

  /** Samples with a model that says these texts, one a turn. */
  async function said(turns: string[], options: Partial<GrpoOptions>) {
    using model = await tinyModel()
    const tokenizer = model.tokenizer!
    const requests: EngineRequest[] = []
    class SpeakingEngine extends Engine {
      override async *write(request: EngineRequest) {
        requests.push(request)
        for (const id of await tokenizer.encodeContinuation(turns[requests.length - 1]!)) yield { id, logprob: -1 }
        yield { id: tokenizer.eosId!, logprob: -1 }
        return 'stop' as const
      }
    }
    const context: SampleContext = {
      draws: 0,
      seed: 0,
      answers: 1,
      tokenizer,
      stopIds: new Set(),
      openConstraint: () => expect.unreachable('There is no schema.'),
      openEngine: () => new SpeakingEngine(model, { sequences: 1, tokens: 64 }),
      logProbs: async () => new Map(),
      sum: async (values) => values,
    }
    const judged: JudgedAnswer[] = []
    const judge = (answer: JudgedAnswer) => judged.push(answer)
    const rewards = { ...(options.rewards as object), judge }
    const asked = await question(model, options.tools)
    const objective = grpo({ maxNewTokens: 200, ...options, rewards })
    const step = await objective.sample!([{ documents: [asked], row: 0 }], context)
    const [{ ids, mask }] = step.rows[0]!.documents as [Question]
    const trained = await tokenizer.decode([...ids].filter((_, i) => mask[i] === 1))
    return {
      step,
      text: await tokenizer.decode(ids),
      trained,
      answer: judged[0]!,
      requests,
    }
  }

  const call = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 4}}</tool_call>'

  test("a function is called, its result is told, and only the model's own tokens are trained", async () => {
    const add = vi.fn(async ({ a, b }: Record<string, unknown>) => Number(a) + Number(b))
    const { text, trained, answer, requests, step } = await said([call, 'It is 6.'], { tools: { add } })
    expect(add).toHaveBeenCalledWith({ a: 2, b: 4 })
    expect(text).toContain(`${call}<|end|>\n<tool>6<|end|>\n<assistant>It is 6.`)
    expect(trained).toBe(`${call}<|end|>It is 6.<|end|>`)
    expect(answer).toMatchObject({ completion: 'It is 6.', row: { answer: '6' }, hasEnded: true })
    expect(requests[1]!.ids.slice(0, requests[0]!.ids.length)).toEqual([...requests[0]!.ids])
    expect(step.metrics.toolCalls).toEqual({ sum: 1, weight: 1 })
  })

  test.each([
    [
      'unknown',
      '<tool_call>{"name": "add", "arguments": {}}</tool_call>',
      { add: () => Promise.reject(new Error('no numbers')) },
      'Error: no numbers',
    ],
    [
      'silent',
      '<tool_call>{"name": "add", "arguments": {}}</tool_call>',
      { add: () => new Promise(() => {}) },
      'Error: There was no answer within 0.05 seconds.',
    ],
    [
      'a bug',
      '<tool_call>{"name": "add", "arguments": {}}</tool_call>',
      { add: () => (({}) as { prepare(): string }).prepare() },
      'Error: {}.prepare is not a function',
    ],
    [
      'a long text',
      '<tool_call>{"name": "add", "arguments": {}}</tool_call>',
      { add: () => 'x'.repeat(3e6) },
      'Error: Its text has 3000000 characters, more than 262144.',
    ],
  ])('what a function that fails says is told to the model, and counted: %s', async (_, turn, tools, told) => {
    const { text, step } = await said([turn, 'Sorry.'], { tools, toolTimeout: 0.05 })
    expect(text).toContain(`<tool>${told}<|end|>`)
    expect(step.metrics.toolErrors).toEqual({ sum: 1, weight: 1 })
    expect(step.toolError).toContain(told.replace(/^Error: |\.$/g, ''))
  })

  test('what functions, environments and rewards do to their arguments changes nothing', async () => {
    const tools = {
      add: (args: Record<string, unknown>) => {
        for (const name of Object.keys(args)) delete args[name]
        return 6
      },
    }
    const environment = () => ({
      reset(row: Record<string, unknown>) {
        row.answer = '7'
      },
    })
    const spoil = (answer: JudgedAnswer) => {
      const { ids, messages, row } = answer as unknown as {
        ids: number[]
        messages: Message[]
        row: Record<string, unknown>
      }
      ids.reverse().push(1)
      messages.splice(0, 1)
      messages[0]!.content = 'other'
      delete row.answer
      return 0
    }
    const turns = [call, 'It is 6.']
    const usual = await said(turns, { tools: { add: () => 6 } })
    const spoilt = await said(turns, { tools, environment, rewards: { spoil } })
    expect(spoilt.text).toBe(usual.text)
    expect(spoilt.answer).toEqual({ ...usual.answer, environment: expect.anything(), signal: expect.anything() })
    expect(spoilt.step.records).toMatchObject([{ messages: usual.answer.messages }])
  })

  test('an environment keeps the state of an episode', async () => {
    const environment = () => {
      let left = 2
      return { left: () => left, reset: () => 'Guess.', step: (guess: string) => (--left > 0 ? `Not ${guess}.` : null) }
    }
    const { text, trained, answer } = await said(['1', '2'], { environment })
    expect(text).toContain('<user>Guess.<|end|>\n<assistant>1<|end|>\n<user>Not 1.<|end|>\n<assistant>2<|end|>')
    expect(trained).toBe('1<|end|>2<|end|>')
    expect((answer.environment as unknown as { left: () => number }).left()).toBe(0)
  })

  test('a result that leaves no room for another turn is not trained, and the episode has not ended', async () => {
    const { text, answer, requests } = await said([call, 'never said'], { tools: { add: () => 'x'.repeat(999) } })
    expect(requests).toHaveLength(1)
    expect(text.endsWith(`${call}<|end|>`)).toBe(true)
    expect(answer).toMatchObject({ hasEnded: false })
  })

  test.each([
    ['reset', { reset: () => Promise.reject(new Error('no board')) }, 'reset failed: no board'],
    ['step', { step: () => new Promise(() => {}) }, 'step failed: There was no answer within 0.05 seconds'],
    ['text', { reset: () => 'x'.repeat(3e6) }, 'reset failed: Its text has 3000000 characters, more than 262144'],
    ['bug', { step: () => (({}) as { next(): string }).next() }, 'step failed: TypeError: {}.next is not a function'],
  ])('an environment whose %s fails is named', async (_, environment, why) => {
    const failed = said(['1'], { environment: () => environment, toolTimeout: 0.05 })
    await expect(failed).rejects.toMatchObject({ code: 'failed-environment', message: `The environment's ${why}.` })
  })

  test.each<[string, () => unknown, string]>([
    ['throws', () => JSON.parse('board'), 'The environment failed: SyntaxError: Unexpected token'],
    ['is none', () => 5, 'Expected an object with reset, step or tools from environment but received 5.'],
    [
      'has a step that is none',
      () => ({ step: 'on' }),
      'Expected a function for step of environment but received "on".',
    ],
    ['has no functions', () => ({ tools: 5 }), 'Expected functions by name for tools of environment but received 5.'],
    ['has a tool that is none', () => ({ tools: { add: 5 } }), 'for the tool add.'],
    ['has tools that are not told', () => ({ tools: { add: () => 1 } }), 'would not know of the functions add'],
  ])('an environment that %s is refused', async (_, environment, message) => {
    const failed = said(['1'], { environment: environment as GrpoOptions['environment'] })
    await expect(failed).rejects.toThrow(message)
  })

  test('turns are limited', async () => {
    const { requests } = await said(new Array(9).fill('again'), {
      environment: () => ({ step: () => 'more' }),
      maxTurns: 3,
    })
    expect(requests).toHaveLength(3)
  })
})
