/** Losses of rewarded answers: finite differences, and the same in passes of any rows. */
import { afterAll, describe, expect, test } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { type PolicyLossOptions, policyLoss } from '../../lib/objectives/policy-loss.js'
import { type Rollout, rolloutsOf } from '../../lib/objectives/rollouts.js'
import { loadStart } from '../golden/objectives.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { expectFiniteDifferences, expectSameInPasses, expectWeightsLikeCopies } from './gradients.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** Answers of one token, of many, with tokens of others between, and one that is masked as a whole. */
const answers = [
  { ids: [1, 5, 2], mask: [0, 0, 1], advantage: -1.2 },
  { ids: [1, 7, 9, 4, 6, 30, 8, 2], mask: [0, 0, 1, 1, 1, 1, 1, 1], advantage: 0.7 },
  { ids: [1, 7, 50, 51, 52, 53, 2], mask: [0, 0, 1, 0, 0, 1, 1], advantage: 0.4 },
  { ids: [1, 7, 60, 61], mask: [0, 0, 0, 0], advantage: 1 },
  { ids: [1, 20, 21, 22, 23], mask: [0, 0, 0, 1, 1], advantage: 0 },
]
const rollouts = new Map<number, Rollout>(
  answers.map(({ mask, advantage }, row) => {
    const logps = mask.flatMap((trained, i) => (trained ? [-5.5 + Math.sin(7 * i + row)] : []))
    return [row, { advantage, old: logps, sampled: logps.map((logp, i) => logp + 0.1 * Math.cos(i)) }]
  }),
)
// The answer that `expectWeightsLikeCopies` repeats.
rollouts.set(answers.length, rollouts.get(1)!)
const batchOf = (rows: readonly number[], padTo = 0) =>
  packBatch(
    rows.map((row) => ({ ...answers[row]!, row })),
    { padTo },
  )
const all = [...answers.keys()]

const options: PolicyLossOptions = {
  ...{ lossType: 'dapo', beta: 0.1, clip: { low: 0.2, high: 0.3 }, delta: undefined, level: 'token' },
  ...{ isKlCorrected: true, entropyCoef: 0, offPolicyLimit: undefined, temperature: 1, maxNewTokens: 9 },
  correction: undefined,
}
const objectiveOf = (changes: Partial<PolicyLossOptions>): Objective => ({
  name: 'policy',
  loss: (model, batch, how) => policyLoss(model, batch, rolloutsOf(batch, rollouts), { ...options, ...changes }, how),
})

const cases: [string, Partial<PolicyLossOptions>][] = [
  ['dapo', {}],
  ['grpo', { lossType: 'grpo', isKlCorrected: false }],
  ['dr_grpo', { lossType: 'dr_grpo', delta: 1.5 }],
  ['luspo', { lossType: 'luspo', level: 'sequence' }],
  ['sapo', { lossType: 'sapo' }],
  ['gspo', { lossType: 'grpo', level: 'sequence' }],
  ['a temperature', { temperature: 0.7 }],
  ['entropy', { entropyCoef: 0.3, temperature: 1.3 }],
  ['corrected sampling', { correction: { mode: 'sequence_truncate', min: 0.5, max: 1.2 } }],
]

describe.each(cases)('%s', (_, changes) => {
  test('has the gradient of finite differences', async () => {
    using model = await loadStart()
    await expectFiniteDifferences(model, objectiveOf(changes), batchOf(all))
  })
})

describe.each<[string, Partial<PolicyLossOptions>]>([
  ...cases,
  ['cispo', { lossType: 'cispo', clip: { low: 0, high: 1.1 } }],
  ['vespo', { lossType: 'vespo' }],
  ['off-policy answers left out', { offPolicyLimit: 0.1 }],
])('%s', (_, changes) => {
  test('has the same loss and gradient padded and cut into passes', async () => {
    using model = await loadStart()
    await expectWeightsLikeCopies(
      model,
      objectiveOf(changes),
      answers.map((answer, row) => ({ ...answer, row })),
    )
    const passes = [[batchOf(all, 11)], [batchOf([3]), batchOf([0, 4]), batchOf([1, 2])]]
    await expectSameInPasses(model, objectiveOf(changes), batchOf(all), passes)
  })
})

test('answers without a token or an advantage have no gradient', async () => {
  using model = await loadStart()
  const flat = { ...options, beta: 0 }
  for (const row of [3, 4]) {
    const { loss } = await policyLoss(model, batchOf([row]), [rollouts.get(row)!], flat, { gradients: true })
    expect([loss.requiresGrad, await loss.item()]).toEqual([false, 0])
    await loss.backward()
    loss.dispose()
  }
})
