/** `train` takes an objective by its name or one of your own; `run.yaml` records it, and a resumed run has the same. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import type { Objective } from '../../lib/objectives/objective.js'
import { train } from '../../lib/train/index.js'
import { expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { testDevice } from '../operations/harness.js'
import { rows, steps, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

const doubled: Objective = {
  name: 'doubled',
  async loss(model, batch, options) {
    const { loss, targetTokens } = await model.lossAsync(batch, options)
    return { loss, weight: targetTokens / 2 }
  },
}

const call = (output: string, changes: object = {}) => ({
  data: writeRows(folder(), 'rows.jsonl', rows(6)),
  output: join(folder(), output),
  batchSize: 3,
  maxSteps: 4,
  ...changes,
})
const recorded = (output: string) => parse(readFileSync(join(folder(), output, 'run.yaml'), 'utf8')).options

test('the default is sft, and one of your own changes the loss alone', async () => {
  const [usual, named, own] = [
    await trainTiny(call('usual')),
    await trainTiny(call('named', { objective: 'sft' })),
    await trainTiny(call('own', { objective: doubled })),
  ]
  const losses = (outcome: typeof usual) => steps(outcome).map(({ loss }) => loss)
  expect(losses(named)).toEqual(losses(usual))
  expect(losses(own)[0]).toBeCloseTo(2 * losses(usual)[0]!, 10)
  expect(steps(own).every((event) => !('metrics' in event))).toBe(true)
  expect([recorded('usual'), recorded('named'), recorded('own')].map(({ objective }) => objective)).toEqual([
    'sft',
    'sft',
    'doubled',
  ])
})

test('what a failed run had enqueued is told to nobody else', async () => {
  using model = await loadTiny('tiny-untied')
  const failing: Objective = {
    name: 'failing',
    async loss(model, batch, options) {
      const { loss } = await model.lossAsync({ ...batch, ids: batch.ids.map(() => 1e9) }, options)
      loss.dispose()
      throw new Error('its own')
    },
  }
  const data = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
  await expect(
    train(model, { data, method: 'lora', rank: 2, maxSteps: 1, objective: failing }).finished,
  ).rejects.toThrow('its own')
  await testDevice().synchronize()
})

test('a resumed run needs the objective that it had', async () => {
  const whole = await trainTiny(call('whole', { objective: doubled, scheduler: 'constant' }))
  const course = call('half', { objective: doubled, scheduler: 'constant' })
  await trainTiny({ ...course, maxSteps: 2 })
  await expect(trainTiny({ ...course, objective: 'sft', resume: true })).rejects.toThrow(
    'The run to resume had objective doubled, but now it is sft',
  )
  const rest = await trainTiny({ ...course, resume: true })
  expect(steps(rest).map(({ loss }) => loss)).toEqual(
    steps(whole)
      .slice(2)
      .map(({ loss }) => loss),
  )
})

test.each([
  [{ objective: 'best' }, /objective/],
  [{ objective: { ...doubled, name: 'sft' } }, 'There is an objective sft already; give yours another name.'],
  [{ objective: { name: 'no loss' } }, 'an objective'],
])('%j is refused', async (changes, message) => {
  await expect(async () => trainTiny(call('refused', changes) as never)).rejects.toThrow(message)
})
