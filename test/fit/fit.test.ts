/** What a run needs, as `fit` and `mora fit` say it. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { describeFit } from '../../lib/cli/commands/fit.js'
import { speaking } from '../../lib/common/option-names.js'
import { memoryConcern } from '../../lib/fit/concern.js'
import { fit as fitOf } from '../../lib/fit/fit.js'
import { initModel, loadModel } from '../../lib/models/index.js'
import * as memory from '../../lib/system/memory.js'
import { openDevice } from '../../lib/tensor/device.js'
import { resolveTrainOptions } from '../../lib/train/setup/resolve-options.js'
import { mora, moraJson } from '../cli/mora.js'
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

test('a run is told of memory that may be too little, by the same figures, and of enough nothing', async () => {
  using model = await loadModel(DEMO, { device: 'cpu', dtype: 'bfloat16' })
  const options = resolveTrainOptions({ ...run, model: DEMO, data: 'rows.jsonl', method: 'full' })
  const other = resolveTrainOptions({ ...run, model: DEMO, data: 'rows.jsonl', rank: 2 ** 20 })
  expect(await memoryConcern(model, options)).toBeNull()
  vi.mocked(memory.freeSystemMemory).mockReturnValue(0)
  const [concern, ofOther] = [await memoryConcern(model, options), await memoryConcern(model, other)]
  const rss = vi.spyOn(process.memoryUsage, 'rss').mockReturnValue(2 ** 20)
  const counted = await memoryConcern(model, options)
  rss.mockRestore()
  vi.mocked(memory.freeSystemMemory).mockRestore()
  expect([concern, ofOther]).toEqual([null, null])
  expect(counted).toMatch(
    /^This run needs up to \S+ MiB for steps of 192 tokens, and 1 MiB are free; it would need \S+ MiB with microBatchSize: 1, .* method: mora\.$/,
  )
})

test('mora train refuses a model that does not fit with the figures of mora fit, in its own spelling', async () => {
  device.trim()
  vi.mocked(memory.freeSystemMemory).mockReturnValue(2 ** 20)
  const train = ['train', '--model', DEMO, '--data', file('rows.jsonl'), '--output', file('refused'), '--device', 'cpu']
  const { exitCode, stderr } = await mora(
    ...train,
    '--batch-size',
    '1',
    '--dtype',
    'float32',
    '--gradient-checkpointing',
  )
  vi.mocked(memory.freeSystemMemory).mockRestore()
  const { json } = await moraJson('fit', DEMO, '--no-trial', '--device', 'cpu', '--max-length', '48')
  expect({ exitCode, fits: json.fits, seconds: json.secondsPerStep }).toEqual({
    exitCode: 2,
    fits: true,
    seconds: null,
  })
  expect(stderr).toMatch(
    /needs about .* This run needs up to \S+ MiB for steps of .* tokens, and 1 MiB are free; it would/,
  )
  expect(stderr).toContain('--quantise nf4')
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
