/** A service that starts again loads the adapter of its run and resumes: the result is that of a run that was never stopped. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type TrainOptions, train } from '../../../lib/train/index.js'
import { readTensors } from '../../golden/files.js'
import { expectedOf, loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()
const rows = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
const trained = (output: string) => readTensors(join(output, 'adapter_model.safetensors'))

test.each<[string, Partial<TrainOptions>]>([
  ['every layer', {}],
  ['layers by names', { targetModules: ['q_proj', 'mlp.up_proj'] }],
  ['layers by a pattern', { targetModules: /proj$/ }],
  ['LoRA and norms', { method: 'lora', modulesToSave: ['norms'], dropout: 0.1 }],
  ['patterns of ranks', { method: 'lora', rankPattern: { q_proj: 3 } }],
])('with an adapter of %s', async (_, changes) => {
  const data = writeRows(folder(), 'rows.jsonl', rows)
  const options = { data, maxSteps: 6, batchSize: 2, rank: 2, ...changes }
  const whole = join(folder(), 'whole')
  const parts = join(folder(), 'parts')
  {
    using model = await loadTiny('tiny-untied')
    await train(model, { ...options, output: whole }).finished
  }
  {
    using model = await loadTiny('tiny-untied')
    for await (const event of train(model, { ...options, output: parts })) {
      if (event.type === 'step' && event.step === 3) break
    }
  }
  using model = await loadTiny('tiny-untied')
  await model.loadAdapter(parts)
  const { targetModules: _targets, ...others } = changes
  const run = train(model, { data, maxSteps: 6, batchSize: 2, output: parts, resume: true, ...others })
  await run.started
  await run.finished
  expect(trained(parts)).toEqual(trained(whole))
  await model.removeAdapter('default')
  // The record still has the targets as they were given first.
  await train(model, { ...options, output: parts, resume: true }).finished
})

test('other targets are refused as before', async () => {
  const data = writeRows(folder(), 'rows.jsonl', rows)
  const options = { data, maxSteps: 2, batchSize: 2, rank: 2, method: 'mora', output: join(folder(), 'out') } as const
  using model = await loadTiny('tiny-untied')
  await train(model, { ...options, targetModules: ['q_proj'] }).finished
  model.removeAdapter('default')
  const other = train(model, {
    ...options,
    targetModules: ['o_proj'],
    resume: true,
    maxSteps: 4,
    allowChanges: ['maxSteps'],
  })
  await expect(other.started).rejects.toThrow(/had targetModules \["q_proj"\], but now it is \["o_proj"\]/)
})

test('what may change goes with a run that does not resume, and needs resume otherwise', async () => {
  const data = writeRows(folder(), 'rows.jsonl', rows)
  using model = await loadTiny('tiny-untied')
  const options = { data, maxSteps: 1, batchSize: 2, rank: 2, output: join(folder(), 'out'), allowChanges: ['data'] }
  await train(model, { ...options, resume: false }).finished
  expect(() => train(model, { ...options, overwrite: true })).toThrow('allowChanges needs resume')
})
