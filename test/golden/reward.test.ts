/** Reward models against TRL and PEFT: an adapter with a head that PEFT wrote, losses, gradients and metrics. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { evaluate } from '../../lib/eval/index.js'
import { readSafetensorsHeader } from '../../lib/io/safetensors.js'
import { mergeModel } from '../../lib/models/adaptation/merge-on-disk.js'
import { parseConfig } from '../../lib/models/families/parse-config.js'
import { loadModel } from '../../lib/models/load-model.js'
import type { Model } from '../../lib/models/model.js'
import { lastScores } from '../../lib/objectives/objective.js'
import { reward } from '../../lib/objectives/reward.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { goldenPath, largestDifference } from './files.js'
import {
  answersOf,
  evaluated,
  expectLikeGolden,
  type GoldenCase,
  type GoldenPair,
  loadStart,
  objectiveOf,
} from './objectives.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface RewardCase extends GoldenCase<GoldenPair> {
  margins?: number[]
  rewards: { chosen: number[]; rejected: number[] }
}

const golden = objectiveOf<GoldenPair>('reward')
const start = goldenPath('objectives/reward-start')

const batchOf = (margins: readonly number[] = []) =>
  packBatch(answersOf(golden.rows).map((answer, i) => ({ ...answer, label: i % 2 === 0 ? margins[i / 2] : 0 })))

async function rewardsOf(model: Model): Promise<number[]> {
  using scores = await lastScores(model, batchOf(), false)
  return Array.from(await scores.data(), Number)
}

describe.each(golden.cases as RewardCase[])('$name', (one) => {
  test('rewards, loss, gradient and metrics are those of the reference', async () => {
    using model = await loadStart('reward-start')
    const wanted = one.rewards.chosen.flatMap((chosen, i) => [chosen, one.rewards.rejected[i]!])
    expect(largestDifference(await rewardsOf(model), wanted)).toBeLessThan(1e-5)
    const { center_rewards_coefficient: centerRewardsCoefficient } = one.options as Record<string, number>
    const got = await evaluated(model, reward({ centerRewardsCoefficient }), [batchOf(one.margins)])
    expectLikeGolden(golden, one, got)
    const { min_reward, mean_reward, max_reward, accuracy, margin } = one.metrics as Record<string, number>
    const ours = ['rewards/min', 'rewards', 'rewards/max', 'accuracy', 'margins'].map((name) => got.metrics[name]!)
    expect(largestDifference(ours, [min_reward!, mean_reward!, max_reward!, accuracy!, margin!])).toBeLessThan(1e-5)
  })
})

test('a head merges in memory and comes out again', async () => {
  using model = await loadStart('reward-start')
  const before = await rewardsOf(model)
  await model.mergeAdapter('start')
  expect(largestDifference(await rewardsOf(model), before)).toBeLessThan(1e-5)
  const output = join(folder(), 'merged-first')
  await model.save(output)
  await model.unmergeAdapter('start')
  expect(await rewardsOf(model)).toEqual(before)
  const base = join(folder(), 'base')
  await model.save(base)
  const architectures = [output, base].map(
    (path) => JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')).architectures[0],
  )
  expect(architectures).toEqual(['LlamaForSequenceClassification', 'LlamaForCausalLM'])
})

test('the labels of a configuration are those of id2label, or two as in transformers', () => {
  const json = JSON.parse(readFileSync(goldenPath('tiny-untied/model/config.json'), 'utf8'))
  const labelsOf = (more: object) => parseConfig({ ...json, ...more }, 'config.json').labels
  const architectures = ['LlamaForSequenceClassification']
  expect(labelsOf({})).toBeUndefined()
  expect(labelsOf({ architectures })).toEqual(['LABEL_0', 'LABEL_1'])
  expect(labelsOf({ architectures, id2label: { 0: 'no', 1: 'yes', 2: 'maybe' } })).toEqual(['no', 'yes', 'maybe'])
  expect(() => labelsOf({ architectures, id2label: { 1: 'yes' } })).toThrow('a name for label 0 in id2label')
})

test('the task reward counts the pairs whose chosen answer scores higher', async () => {
  using model = await loadStart('reward-start')
  const data = golden.rows.map(({ prompt, chosen, rejected }) => ({
    prompt_ids: prompt,
    chosen_ids: rejected,
    rejected_ids: chosen,
  }))
  const { accuracy, margin, rows } = await evaluate(model, { task: 'reward', data })
  expect({ accuracy, rows }).toEqual({ accuracy: 1, rows: 5 })
  expect(margin).toBeCloseTo(0.8637308084512323, 5)
})

test('an adapter with a head is written as it was read, and merges into a model that transformers reads', async () => {
  using model = await loadStart('reward-start')
  expect(model.labels).toEqual(['LABEL_0'])
  const before = await rewardsOf(model)
  const saved = join(folder(), 'saved')
  await model.saveAdapter('start', saved)
  const config = JSON.parse(readFileSync(join(saved, 'adapter_config.json'), 'utf8'))
  expect(config).toMatchObject({ modules_to_save: ['score'], task_type: 'SEQ_CLS' })
  const tensors = async (path: string) => (await readSafetensorsHeader(join(path, 'adapter_model.safetensors'))).tensors
  expect([...(await tensors(saved)).keys()].toSorted()).toEqual([...(await tensors(start)).keys()].toSorted())

  const onDisk = join(folder(), 'on-disk')
  await mergeModel({ model: model.path, adapter: saved, output: onDisk })
  const inMemory = join(folder(), 'in-memory')
  await model.save(inMemory, { mergeActive: true })
  for (const merged of [onDisk, inMemory]) {
    const json = JSON.parse(readFileSync(join(merged, 'config.json'), 'utf8'))
    expect(json).toMatchObject({
      architectures: ['LlamaForSequenceClassification'],
      id2label: { 0: 'LABEL_0' },
      label2id: { LABEL_0: 0 },
    })
    const { tensors } = await readSafetensorsHeader(join(merged, 'model.safetensors'))
    expect(tensors.get('score.weight')).toMatchObject({ dtype: 'float32', shape: [1, 64] })
    expect(tensors.has('lm_head.weight')).toBe(false)
    using again = await loadModel(merged, { dtype: 'float32', device: testDevice().kind as 'cpu' })
    expect(again.labels).toEqual(['LABEL_0'])
    expect(largestDifference(await rewardsOf(again), before)).toBeLessThan(1e-5)
    expect(() => again.loss(batchOf())).toThrow('scores texts, and has no head')
  }
  await expect(mergeModel({ model: model.path, adapter: saved, output: join(folder(), 'm.gguf') })).rejects.toThrow(
    'GGUF files have no place for a head',
  )
})
