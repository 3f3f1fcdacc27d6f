/** A model that a run trains cannot be changed by others. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { train } from '../../../lib/train/index.js'
import { expectedOf, loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
const { sequences } = expectedOf('tiny-untied')

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

function rows(): string {
  const path = join(temporary(), 'rows.jsonl')
  writeFileSync(path, sequences.map((input_ids) => JSON.stringify({ input_ids })).join('\n'))
  return path
}

test('calls that would change it during a run are refused by name, and work afterwards', async () => {
  using model = await loadTiny('tiny-untied')
  const saved = join(temporary(), 'saved')
  model.addAdapter('idle', mora({ rank: 2 }))
  await model.saveAdapter('idle', saved)
  model.setActiveAdapters([])
  const options = { data: rows(), maxSteps: 2, batchSize: 2, method: 'mora', rank: 2 } as const
  const changes: [string, () => unknown][] = [
    ['a second run', () => train(model, options)],
    ['adapter default, which takes part in it, would be removed', () => model.removeAdapter('default')],
    ['adapter default would be merged', () => model.mergeAdapter('default')],
    ['adapter default would be taken out', () => model.unmergeAdapter('default')],
    ['adapter late would be added', () => model.addAdapter('late', mora({ rank: 2 }))],
    ['adapter default would be merged and started again', () => model.restartAdapter('default')],
    [`${saved} would be merged`, () => model.absorbAdapter(saved)],
    ['its weights would become trainable', () => model.trainAll()],
    ['its active adapters would change', () => model.setActiveAdapters(['idle'])],
    ['the scale of adapter default would change', () => model.setAdapterScale('default', 0)],
  ]
  const run = train(model, options)
  let steps = 0
  for await (const { type } of run) {
    if (type !== 'step') continue
    steps++
    for (const [words, change] of changes) {
      await expect((async () => change())()).rejects.toThrow(
        expect.objectContaining({ code: 'in-training', message: expect.stringContaining(words) }),
      )
    }
    await model.saveAdapter('default', join(temporary(), 'meanwhile'))
    // Adapters that have no part in the run come and go.
    await model.loadAdapter(saved, 'late')
    expect(model.adapterSet.activeNames()).toEqual(['default'])
    await expect(model.loadAdapter(saved, 'late')).rejects.toMatchObject({ code: 'adapter-exists' })
    model.removeAdapter('late')
  }
  expect(steps).toBe(2)
  await run.finished
  model.removeAdapter('idle')
  await train(model, { data: rows(), maxSteps: 1, batchSize: 2 }).finished
  await model.mergeAdapter('default')
})

test('what others read goes on while a run replaces the tensors', async () => {
  using model = await loadTiny('tiny-untied')
  const untrained = model.untrainedTokens([1, 2])
  model.trainAll()
  expect(await untrained).toEqual([])

  using adapted = await loadTiny('tiny-untied')
  adapted.addAdapter('a', mora({ rank: 2 }))
  await adapted.saveAdapter('a', join(temporary(), 'before'))
  const saving = adapted.saveAdapter('a', join(temporary(), 'during'))
  await adapted.restartAdapter('a', { seed: 1 })
  await saving
  const file = (folder: string) => readFileSync(join(temporary(), folder, 'adapter_model.safetensors'))
  expect(file('during')).toEqual(file('before'))
})

test('a model that is disposed of while it trains ends the run first, with everything saved', async () => {
  const output = join(temporary(), 'out')
  const run = await (async () => {
    using model = await loadTiny('tiny-untied')
    const run = train(model, { data: rows(), output, maxSteps: 1000, batchSize: 2, method: 'mora', rank: 2 })
    await run.started
    return run
  })()
  const { steps, stopped } = await run.finished
  expect({ stopped, early: steps < 1000 }).toEqual({ stopped: true, early: true })
  expect(existsSync(join(output, 'adapter_config.json'))).toBe(true)
})

test('await using waits until the memory is free', async () => {
  {
    await using model = await loadTiny('tiny-untied')
    const run = train(model, { data: rows(), maxSteps: 1000, batchSize: 2, method: 'mora', rank: 2 })
    model.dispose()
    expect(() => train(model, { data: rows() })).toThrow(expect.objectContaining({ code: 'in-training' }))
    expect(await run.stop()).toMatchObject({ stopped: true })
  }
  expect(liveBytes(testDevice())).toBe(0)
})

test('leaving the loop or failing in it leaves a model that can be disposed of', async () => {
  const own = new Error('my own')
  const leave = async (body: () => void) => {
    using model = await loadTiny('tiny-untied')
    for await (const { type } of train(model, { data: rows(), maxSteps: 50, batchSize: 2, method: 'mora', rank: 2 })) {
      if (type !== 'step') continue
      body()
      break
    }
  }
  await leave(() => {})
  const throwing = () => {
    throw own
  }
  await expect(leave(throwing)).rejects.toBe(own)
  expect(liveBytes(testDevice())).toBe(0)
})

test('a run that fails before its first step releases the model', async () => {
  using model = await loadTiny('tiny-untied')
  await expect(train(model, { data: 'absent.jsonl' }).finished).rejects.toThrow(/absent\.jsonl/)
  await train(model, { data: rows(), maxSteps: 1, batchSize: 2, method: 'lora' }).finished
})
