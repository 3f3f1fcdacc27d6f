/** What a run needs, as `fit` and `mora fit` say it. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { describeFit } from '../../lib/cli/commands/fit.js'
import { speaking } from '../../lib/common/option-names.js'
import { fit as fitOf } from '../../lib/fit/fit.js'
import { initModel } from '../../lib/models/index.js'
import * as memory from '../../lib/system/memory.js'
import { openDevice } from '../../lib/tensor/device.js'
import { expectRejection, quickFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'

vi.mock('../../lib/system/memory.js', { spy: true })

const DEMO = join(import.meta.dirname, '../../assets/demo-model')
const golden = (name: string) => join(import.meta.dirname, '../golden', name, 'config.json')
const folder = quickFolder()
const file = (name: string) => join(folder, name)
const device = openDevice({ device: 'cpu' })
afterAll(() => {
  rmSync(folder, { recursive: true })
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
})

const run = { device: 'cpu', maxLength: 48, batchSize: 4 } as const

test('memory by part, the time of a step and of an epoch of its rows, and disk', async () => {
  const rows = [5, 9, 30, 12, 7].map((length) => ({ input_ids: Array.from({ length }, (_, i) => 1 + i) }))
  writeFileSync(file('rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const said = await fitOf(DEMO, {
    ...run,
    data: file('rows.jsonl'),
    batchSize: 5,
    epochs: 2,
    saveEvery: 1,
    output: file('new/run'),
  })
  const { memory, disk, secondsPerStep, secondsPerEpoch } = said
  expect(memory.peak).toBeGreaterThan(memory.process + memory.base)
  expect(memory.peak).toBeLessThanOrEqual(
    memory.process + memory.base + memory.adapter + memory.optimizer + memory.activations,
  )
  expect(said.steps).toBe(2)
  expect(said.tokensPerStep).toBe(5 + 9 + 30 + 12 + 7)
  expect(secondsPerStep).toBeGreaterThan(0)
  expect(secondsPerEpoch).toBe(secondsPerStep)
  expect(disk.run).toBe(disk.result + 3 * disk.checkpoint)
  expect({ fits: said.fits, advice: said.advice }).toEqual({ fits: true, advice: [] })
  expect(describeFit(said)).toMatch(/^memory +\S+ MiB at the peak.*\nfits +yes$/s)
})

test('a loaded model, with the adapter that a run of it would train, is not changed', async () => {
  using model = await initModel(golden('tiny-untied/model'), { device: 'cpu', dtype: 'float32' })
  await model.addAdapter('a', lora({ rank: 4, targetModules: ['q_proj'] }))
  const values = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
  const { memory, secondsPerStep } = await fitOf(model, { ...run, microBatchSize: 1 })
  expect(memory.optimizer).toBeGreaterThanOrEqual(12 * values)
  expect(memory.optimizer).toBeLessThan(12.1 * values)
  expect(secondsPerStep).toBeGreaterThan(0)
  expect([...model.adapters.keys()]).toEqual(['a'])
})

test('blocks that read the keys and values of others take part in the trial', async () => {
  const { secondsPerStep } = await fitOf(DEMO, { ...run, init: golden('families2/gemma4-e2b'), method: 'lora' })
  expect(secondsPerStep).toBeGreaterThan(0)
})

test('where memory is too little, each change of options with what the run then needs', async () => {
  vi.mocked(memory.freeSystemMemory).mockReturnValue(2 ** 27)
  const said = await fitOf(DEMO, { ...run, method: 'full', trial: false, dtype: 'bfloat16' })
  vi.mocked(memory.freeSystemMemory).mockRestore()
  expect(said.fits).toBe(false)
  expect(said.secondsPerStep).toBeNull()
  expect(said.advice.map(({ options }) => options)).toEqual([
    { microBatchSize: 1 },
    { gradientCheckpointing: true },
    { method: 'mora' },
    { microBatchSize: 1, gradientCheckpointing: true, method: 'mora' },
  ])
  const all = said.advice.at(-1)!
  expect(all.memory).toBeLessThan(said.memory.peak)
  expect(speaking('flags', () => describeFit(said))).toMatch(/no\nwith --micro-batch-size 1: \S+ MiB of memory, /)
})

test('objectives that write texts, and rows that cannot be read twice, are refused', async () => {
  writeFileSync(file('rewards.js'), 'export const one = () => 1')
  await expectRejection(
    fitOf(DEMO, { ...run, objective: 'grpo', rewards: file('rewards.js'), trial: false }),
    'unfit-options',
    /Steps of grpo write texts/,
  )
  const rows = (async function* () {
    yield { input_ids: [1, 2] }
  })()
  await expectRejection(fitOf(DEMO, { ...run, data: rows }), 'bad-value', /Expected paths, hub ids or arrays/)
})
