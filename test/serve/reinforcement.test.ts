/** Jobs of the method `reinforcement`, and graders by themselves, by the `openai` package. */
import { readFileSync } from 'node:fs'
import OpenAI, { toFile } from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ProgramGrader } from '../../lib/graders/grade.js'
import type { Model } from '../../lib/models/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { NAME as model, startServer, tinyModel } from './tiny-server.js'

type Grader = OpenAI.FineTuning.ReinforcementMethod['grader']

/** A grader of the program. */
const ends: ProgramGrader = ({ sample }) =>
  Number(sample.choices.some((one) => (one as { finish_reason: string }).finish_reason === 'stop'))

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let client: OpenAI
const folder = useTemporaryFolder()
beforeAll(async () => {
  tiny = await tinyModel()
})
beforeEach(start)
afterEach(async () => {
  expect(server.errors).toEqual([])
  await server.close()
  for (const name of tiny.adapters.keys()) tiny.removeAdapter(name)
})
afterAll(() => tiny.dispose())

async function start() {
  server = await startServer(tiny, { jobs: { folder: folder(), graders: { ends } } })
  client = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: 'none', maxRetries: 0 })
}

const rows = Array.from({ length: 4 }, (_, i) => ({
  messages: [{ role: 'user', content: `Say ${i}` }],
  letter: 'w',
  label: true,
}))
const upload = async (content: readonly object[]) => {
  const text = content.map((row) => `${JSON.stringify(row)}\n`).join('')
  return (await client.files.create({ file: await toFile(Buffer.from(text), 'rows.jsonl'), purpose: 'fine-tune' })).id
}

const check: Grader = {
  type: 'string_check',
  name: 'has letter',
  operation: 'like',
  input: '{{ sample.output_text }}',
  reference: '{{ item.letter }}',
}
const similar = { type: 'text_similarity', name: 's', evaluation_metric: 'fuzzy_match' } as const
const method = (grader: Grader, more: object = {}, fields: object = {}): OpenAI.FineTuning.JobCreateParams.Method => ({
  type: 'reinforcement',
  reinforcement: {
    grader,
    hyperparameters: { n_epochs: 4, batch_size: 4, ...more },
    ...{ mora: { method: 'lora', rank: 4, learning_rate: 0.1, max_tokens: 6, max_grad_norm: 0 } },
    ...fields,
  },
})

async function ended(id: string) {
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id)
    if (['succeeded', 'failed', 'cancelled', 'paused'].includes(job.status)) return job
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const eventsOf = async (id: string) => (await client.fineTuning.jobs.listEvents(id, { limit: 100 })).data
const metricsOf = async (id: string) =>
  (await eventsOf(id))
    .filter(({ type }) => type === 'metrics')
    .map(({ data }) => data as { step: number; train_mean_reward: number; full_valid_mean_reward?: number })
    .sort((a, b) => a.step - b.step)

describe('reinforcement', () => {
  it('makes answers that a grader scores higher likelier, equally for equal seeds', async () => {
    const training_file = await upload(rows)
    const asked = {
      ...{ model, training_file, validation_file: training_file, seed: 5 },
      method: method(check, { n_epochs: 8, compute_multiplier: 2, eval_samples: 3, eval_interval: 4 }),
    }
    const jobs = [await client.fineTuning.jobs.create(asked), await client.fineTuning.jobs.create(asked)] as const
    const job = await ended(jobs[0].id)
    // The second is paused, and continues in another process.
    await expect.poll(async () => (await metricsOf(jobs[1].id)).length, { interval: 5 }).toBeGreaterThan(1)
    await client.fineTuning.jobs.pause(jobs[1].id)
    await server.close()
    for (const name of tiny.adapters.keys()) tiny.removeAdapter(name)
    await start()
    await client.fineTuning.jobs.resume(jobs[1].id)
    const again = await ended(jobs[1].id)
    expect(job).toMatchObject({ status: 'succeeded', error: null })
    expect(job.method).toMatchObject({
      reinforcement: { grader: check, hyperparameters: { compute_multiplier: 2, eval_samples: 3 } },
    })
    const metrics = await metricsOf(job.id)
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(metrics.at(-1)!.train_mean_reward).toBeGreaterThan(metrics[0]!.train_mean_reward + 0.3)
    expect(metrics.at(-1)).toMatchObject({
      full_valid_mean_reward: expect.any(Number),
      completion_tokens_mean: expect.any(Number),
      scores: {
        train_reward_mean: metrics.at(-1)!.train_mean_reward,
        valid_reward_mean: metrics.at(-1)!.full_valid_mean_reward,
        graders: [{ name: 'has letter', type: 'string_check', train_reward_mean: metrics.at(-1)!.train_mean_reward }],
      },
    })
    expect(metrics.filter((one) => one.full_valid_mean_reward !== undefined).map(({ step }) => step)).toEqual([4, 8])
    const table = await (await client.files.content(job.result_files[0]!)).text()
    expect(table).toMatch(/^step,train_mean_reward,full_valid_mean_reward,completion_tokens_mean\n1,[\d.]+,,[\d.]+\n/)
    const says = async (name: string) => {
      const asked = {
        model: name,
        messages: [{ role: 'user' as const, content: 'Say 1' }],
        max_tokens: 8,
        temperature: 0,
      }
      return (await client.chat.completions.create(asked)).choices[0]!.message.content
    }
    expect(await says(model)).not.toContain('w')
    expect(await says(job.fine_tuned_model!)).toContain('w')
    const trained = (id: string) => readFileSync(`${folder()}/jobs/${id}/run/adapter_model.safetensors`)
    expect(trained(job.id).equals(trained(again.id))).toBe(true)
  })

  it('tells the scores of each grader of several, and why some are 0', async () => {
    const training_file = await upload(rows)
    const graders = {
      letter: check,
      similar: { ...similar, input: '{{ sample.output_text }}', reference: 'here' },
      json: { ...check, input: '{{ sample.output_json.a }}' },
    } as unknown as OpenAI.Graders.StringCheckGrader
    const multi = { type: 'multi', name: 'm', graders, calculate_output: '(letter + similar) / 2 + json' } as const
    const { id } = await client.fineTuning.jobs.create({ model, training_file, seed: 1, method: method(multi) })
    expect(await ended(id)).toMatchObject({ status: 'succeeded' })
    const scores = (await metricsOf(id)).map((one) => (one as unknown as { scores: Scores }).scores)
    for (const { train_reward_mean, graders } of scores) {
      expect(graders.map(({ name }) => name)).toEqual(['letter', 'similar', 'json'])
      const of = (name: string) => graders.find((one) => one.name === name)!.train_reward_mean
      expect(of('json')).toBe(0)
      expect(train_reward_mean).toBeCloseTo((of('letter') + of('similar')) / 2, 10)
    }
    const told = (await eventsOf(id)).map(({ message }) => message).filter((one) => one.includes('grader json'))
    expect(told).toEqual([expect.stringContaining('gave 0 (sample_parse_error): the answer is not JSON')])
  })

  it('samples answers that fit a response_format, whose JSON graders read', async () => {
    const training_file = await upload(rows)
    const schema = {
      type: 'object',
      properties: { a: { enum: ['w', 'e'] } },
      required: ['a'],
      additionalProperties: false,
    }
    const grader = { ...check, operation: 'eq', input: '{{ sample.output_json.a }}' } as const
    const mora = { method: 'lora', rank: 4, learning_rate: 0.1, max_tokens: 40, max_grad_norm: 0 }
    const { id } = await client.fineTuning.jobs.create({
      ...{ model, training_file, seed: 1 },
      method: method(
        grader,
        {},
        { mora, response_format: { type: 'json_schema', json_schema: { name: 'a', schema } } },
      ),
    })
    expect(await ended(id)).toMatchObject({ status: 'succeeded', method: { reinforcement: { response_format: {} } } })
    expect((await eventsOf(id)).filter(({ message }) => message.includes('gave 0'))).toEqual([])
    const answers = readFileSync(`${folder()}/jobs/${id}/run/rollouts.jsonl`, 'utf8').trim().split('\n')
    const said = answers.map((line) => JSON.parse(line) as { completion: string; rewards: Record<string, number> })
    expect(said.length).toBe(4 * 4 * 8)
    for (const { completion, rewards } of said)
      expect(rewards['has letter']).toBe(Number((JSON.parse(completion) as { a: string }).a === 'w'))
  })

  it('asks served models, whose words are constrained', async () => {
    const training_file = await upload(rows)
    const grader = {
      type: 'score_model',
      name: 'judge',
      model,
      input: [{ role: 'user', content: 'Score {{sample.output_text}}' }],
      range: [0, 3],
      sampling_params: { max_completions_tokens: 256, temperature: 1 },
    } as const
    const { id } = await client.fineTuning.jobs.create({
      ...{ model, training_file, seed: 1 },
      method: method(grader as unknown as Grader, { n_epochs: 1, compute_multiplier: 0.25 }),
    })
    expect(await ended(id)).toMatchObject({ status: 'succeeded' })
    const [first] = await metricsOf(id)
    expect(first!.train_mean_reward).toBeGreaterThanOrEqual(0)
    expect(first!.train_mean_reward).toBeLessThanOrEqual(3)
  })

  it("takes the program's own graders", async () => {
    const training_file = await upload(rows)
    const grader = { type: 'program', name: 'ends' } as unknown as Grader
    const how = method(grader, { n_epochs: 1, compute_multiplier: 4 })
    const { id } = await client.fineTuning.jobs.create({ model, training_file, seed: 1, method: how })
    expect((await ended(id)).error).toBeOneOf([null, expect.objectContaining({ code: 'untrained' })])
    const [first] = await metricsOf(id)
    expect(first).toMatchObject({ scores: { graders: [{ name: 'ends', type: 'program' }] } })
  })

  it('is refused by the field that is wrong', async () => {
    const training_file = await upload(rows)
    const refused = async (given: OpenAI.FineTuning.JobCreateParams.Method, file = training_file) => {
      const error = await client.fineTuning.jobs
        .create({ model, training_file: file, method: given })
        .catch((error: unknown) => error)
      expect(error).toBeInstanceOf(OpenAI.APIError)
      const { status, param, message } = error as { status: number; param: string; message: string }
      expect(status).toBe(400)
      return [param, message]
    }
    const at = (field: string) => `method.reinforcement.${field}`
    const says = (field: string, part: string) => [at(field), expect.stringContaining(part)]
    expect(await refused({ type: 'reinforcement' })).toEqual(says('grader', 'it is missing'))
    expect(await refused(method({ ...check, operation: 'is' as 'eq' }))).toEqual(says('grader.operation', 'eq, ne'))
    expect(await refused(method({ type: 'python', name: 'p', source: '' }))).toEqual(
      says('grader.type', 'graders of its own'),
    )
    const judge = { type: 'score_model', model: 'gpt-4o', name: 'j', input: [{ role: 'user', content: 'a' }] } as const
    expect(await refused(method(judge as unknown as Grader))).toEqual(says('grader.model', '"gpt-4o" does not exist'))
    const absent = { type: 'program', name: 'absent' } as unknown as Grader
    expect(await refused(method(absent))).toEqual(says('grader.name', 'it has: ends'))
    expect(await refused(method(check, { reasoning_effort: 'low' }))).toEqual(
      says('hyperparameters.reasoning_effort', 'template_options'),
    )
    expect(await refused(method(check, { compute_multiplier: 11 }))).toEqual(
      says('hyperparameters.compute_multiplier', '10'),
    )
    expect(await refused(method(check, { eval_samples: 2 }))).toEqual(
      says('hyperparameters.eval_samples', 'validation_file'),
    )
    const format = (schema: object) => ({
      response_format: { type: 'json_schema', json_schema: { name: 'a', schema } },
    })
    expect(await refused(method(check, {}, { response_format: {} }))).toEqual(
      says('response_format.type', 'json_schema'),
    )
    expect(await refused(method(check, {}, format({ not: {} })))).toEqual(says('response_format', 'cannot be enforced'))
    const calling = await upload([{ ...rows[0], tools: [{ type: 'function', function: { name: 'f' } }] }])
    expect(await refused(method(check, {}, format({ type: 'object' })), calling)).toEqual([
      'training_file',
      expect.stringMatching(/rows\.jsonl:1: tools: expected none/),
    ])
    expect(await refused(method(check, {}, { mora: { group_size: 4 } }))).toEqual(says('mora.group_size', 'nothing'))
    const lacking = await upload([rows[0]!, { messages: rows[0]!.messages }])
    expect(await refused(method(check), lacking)).toEqual([
      'training_file',
      expect.stringMatching(/rows\.jsonl:2: the row lacks what the grader reads: there is no \{\{ item\.letter \}\}/),
    ])
    const answered = await upload([
      { messages: [...rows[0]!.messages, { role: 'assistant', content: 'e' }], letter: 'e' },
    ])
    expect(await refused(method(check), answered)).toEqual(['training_file', expect.stringContaining('at the end')])
    expect((await client.fineTuning.jobs.list()).data).toEqual([])
  })

  it('takes conversations of several turns beside single questions', async () => {
    const turns = [...rows[0]!.messages, { role: 'assistant', content: 'e' }, { role: 'user', content: 'Again' }]
    const training_file = await upload([{ messages: turns, letter: 'w' }, rows[0]!])
    const { id } = await client.fineTuning.jobs.create({ model, training_file, seed: 1, method: method(check) })
    expect(await ended(id)).toMatchObject({ status: 'succeeded' })
  })
})

interface Scores {
  readonly train_reward_mean: number
  readonly graders: readonly { readonly name: string; readonly train_reward_mean: number }[]
}

describe('graders', () => {
  it('are validated', async () => {
    const { grader } = await client.fineTuning.alpha.graders.validate({ grader: check })
    expect(grader).toEqual(check)
    const wrong = { ...check, input: '{{ output }}' }
    await expect(client.fineTuning.alpha.graders.validate({ grader: wrong })).rejects.toMatchObject({
      status: 400,
      param: 'grader.input',
    })
  })

  it('score an answer', async () => {
    const multi = {
      type: 'multi',
      name: 'both',
      graders: { letter: check, json: { ...check, input: '{{sample.output_json.a}}' } } as unknown as Grader,
      calculate_output: 'letter + 2 * json',
    } as const
    const run = (model_sample: string) =>
      client.fineTuning.alpha.graders.run({
        grader: multi as unknown as Grader,
        model_sample,
        item: { letter: 'e' },
      })
    expect(await run('{"a": "see"}')).toMatchObject({
      reward: 3,
      sub_rewards: { letter: 1, json: 1 },
      metadata: { name: 'both', type: 'multi', errors: { sample_parse_error: false, other_error: false } },
    })
    expect(await run('see')).toMatchObject({
      reward: 1,
      sub_rewards: { letter: 1, json: 0 },
      metadata: { errors: { sample_parse_error: true }, scores: { json: 0 }, token_usage: null },
    })
    const judge = {
      type: 'score_model',
      name: 'j',
      model,
      input: [{ role: 'user', content: 'Hm' }],
    } as unknown as Grader
    const judged = await client.fineTuning.alpha.graders.run({ grader: judge, model_sample: '' })
    expect(judged.metadata).toMatchObject({ sampled_model_name: model, token_usage: expect.any(Number) })
    expect(judged.model_grader_token_usage_per_model).toMatchObject({ [model]: { prompt_tokens: expect.any(Number) } })
    await expect(
      client.fineTuning.alpha.graders.run({ grader: { ...judge, model: 'gpt' } as Grader, model_sample: '' }),
    ).rejects.toMatchObject({ status: 400, message: expect.stringContaining('"gpt" does not exist') })
  })
})
