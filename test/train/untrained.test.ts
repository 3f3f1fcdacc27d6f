/** A run that trained nothing, or not all that it was asked to, fails once its result is saved. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { Objective } from '../../lib/objectives/objective.js'
import { ADAPTER_METHODS } from '../../lib/options/index.js'
import { square } from '../../lib/tensor/operations/arithmetic.js'
import { sum } from '../../lib/tensor/operations/reductions.js'
import { scope } from '../../lib/tensor/scope.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { trainOn } from './ranks/ranks-run.js'
import type { TinyOptions } from './tiny-model.js'
import { notices, rows, steps, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()
const nothing: TinyOptions['disturb'] = (gradient) => void gradient.fill(0)
const nothingOfOne: TinyOptions['disturb'] = (gradient, _, name) => void (/up_proj/.test(name) && gradient.fill(0))

function optionsOf(changes: Partial<TrainOptions> = {}): TrainOptions & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, output: join(folder(), 'out'), batchSize: 4, maxSteps: 5, scheduler: 'constant', ...changes }
}

/** Returns the error and the events of a run that fails at its end. */
async function failed(options: TrainOptions, tiny: TinyOptions = {}) {
  const events: TrainEvent[] = []
  const error = await trainTiny(options, tiny, (event) => void events.push(event)).then(
    () => null,
    (error: { code: string; message: string }) => error,
  )
  return { code: error?.code, message: error?.message, events }
}

describe('a run fails, with everything saved,', () => {
  it.each<[string, Partial<TrainOptions>, TinyOptions, RegExp]>([
    ['whose gradients are all zero', {}, { disturb: nothing }, /^No step had a gradient that is not zero, so nothing/],
    ['of one step of zeros', { maxSteps: 1 }, { disturb: nothing }, /^No step had a gradient that is not zero/],
    ['whose values do not change', { learningRate: 1e-50 }, {}, /^No trained value changed in any step/],
    [
      'of which a tensor never had a gradient',
      {},
      { disturb: nothingOfOne },
      /^1 of 2 trained tensors had no gradient that is not zero in any step, .* first model\.layers\.0\.mlp\.up_proj\.mora:/,
    ],
  ])('T5 %s', async (_, changes, tiny, words) => {
    const options = optionsOf(changes)
    const { code, message, events } = await failed(options, tiny)
    expect([code, message]).toEqual(['untrained', expect.stringMatching(words)])
    expect(message).toContain(`; what the run did is in ${options.output}.`)
    expect(notices({ events }).filter((notice) => words.test(notice))).toHaveLength(1)
    const { result } = parse(readFileSync(join(options.output, 'run.yaml'), 'utf8')) as { result: { problem: string } }
    expect(result.problem).toMatch(words)
    expect(existsSync(join(options.output, 'adapter_model.safetensors'))).toBe(true)
  })

  it('on all ranks, and one of them says so', async () => {
    const options = optionsOf({ learningRate: 1e-50 })
    const all = await trainOn(3, options)
    expect(all.map(({ error }) => (error as { code: string }).code)).toEqual(['untrained', 'untrained', 'untrained'])
    expect(all.map((one) => notices(one).filter((notice) => /No trained value changed/.test(notice)).length)).toEqual([
      1, 0, 0,
    ])
  })
})

it('the sentence comes after a few steps, where the run goes on', async () => {
  const { events } = await failed(optionsOf({ maxSteps: 9 }), { disturb: nothingOfOne })
  const at = events.findIndex((event) => event.type === 'notice' && /1 of 2 trained/.test(event.message))
  expect(steps({ events: events.slice(0, at) })).toHaveLength(3)
})

describe('a run of a model succeeds', () => {
  const { sequences } = expectedOf('tiny-untied')
  const examples = sequences.map((input_ids) => ({ input_ids }))
  /** A loss of the states, on which the head does not act. */
  const objective: Objective = {
    name: 'states',
    async loss(model, batch, { gradients }) {
      const states = await model.forwardAsync(batch, { rows: 'all', gradients })
      const loss = scope(() => sum(square(states.hidden)))
      states.dispose()
      return { loss, weight: batch.targetTokens }
    },
  }

  it.each<[string, Partial<TrainOptions>]>([
    ...ADAPTER_METHODS.map((method): [string, Partial<TrainOptions>] => [method, { method, rank: 4 }]),
    ['full', { method: 'full' }],
    ['full, with a head that the loss does not reach', { method: 'full', objective }],
    ['mora that is merged', { method: 'mora', rank: 4, mergeEvery: 3 }],
  ])('%s', async (_, options) => {
    using model = await loadTiny('tiny-untied')
    const { finished } = train(model, { data: examples, batchSize: 4, maxSteps: 4, ...options } as TrainOptions)
    expect((await finished).steps).toBe(4)
  })

  it('not with an adapter that the loss does not reach', async () => {
    using model = await loadTiny('tiny-untied')
    const options = {
      method: 'lora',
      targetModules: ['q_proj', 'lm_head'],
      objective,
      data: examples,
    } satisfies TrainOptions
    await expect(train(model, { ...options, batchSize: 4, maxSteps: 4 }).finished).rejects.toMatchObject({
      code: 'untrained',
      message: expect.stringContaining('first lm_head.'),
    })
  })
})

describe('a run succeeds', () => {
  it('at a rate of zero, and says so', async () => {
    const run = await trainTiny(optionsOf({ learningRate: () => 0, scheduler: undefined }))
    expect(notices(run).at(-1)).toBe('The learning rate of every step up to step 5 was 0, so nothing was trained.')
  })

  it('that is stopped before anything was trained', async () => {
    const run = await trainTiny(optionsOf(), { disturb: nothing }, (event, run) => {
      if (event.type === 'step') void run.stop()
    })
    expect(run.result).toMatchObject({ steps: 1, stopped: true })
  })

  it('whose tensors had gradients before it was resumed', async () => {
    const options = optionsOf()
    await trainTiny(options, {}, (event, run) => {
      if (event.type === 'step' && event.step === 2) void run.stop()
    })
    expect((await trainTiny({ ...options, resume: true }, { disturb: nothing })).result.steps).toBe(5)
  })
})
