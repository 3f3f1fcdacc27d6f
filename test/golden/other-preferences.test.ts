/** KTO, ORPO, CPO and SimPO against TRL: losses, gradients, metrics, and KTO's training run. */
import { afterAll, describe, expect, test } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { cpo } from '../../lib/objectives/cpo.js'
import { kto } from '../../lib/objectives/kto.js'
import { orpo } from '../../lib/objectives/orpo.js'
import { simpo } from '../../lib/objectives/simpo.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import {
  answerOf,
  batchOfPairs,
  evaluated,
  expectLikeGolden,
  expectMetrics,
  type GoldenCase,
  type GoldenPair,
  loadStart,
  METRICS_OF_PAIRS,
  objectiveOf,
  trainLikeGolden,
} from './objectives.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

describe.each(objectiveOf<GoldenPair>('orpo').cases)('$name', (one) => {
  test('is that of the reference', async () => {
    using model = await loadStart()
    const golden = objectiveOf<GoldenPair>('orpo')
    const got = await evaluated(model, orpo({ beta: one.options.beta as number }), [batchOfPairs(golden.rows)])
    expectLikeGolden(golden, one, got)
    expectMetrics(got.metrics, one.metrics, METRICS_OF_PAIRS)
  })
})

describe.each(objectiveOf<GoldenPair>('cpo').cases)('$name', (one) => {
  test('is that of the reference', async () => {
    using model = await loadStart()
    const golden = objectiveOf<GoldenPair>('cpo')
    const { loss_type, beta, cpo_alpha, label_smoothing, simpo_gamma, alpha } = one.options as Record<string, number>
    const type = String(loss_type)
    const objective =
      type === 'simpo' || type === 'alphapo'
        ? simpo({ beta, simpoGamma: simpo_gamma, cpoAlpha: cpo_alpha ?? 0, alphapoAlpha: alpha })
        : cpo({ beta, lossType: [type as 'hinge'], cpoAlpha: cpo_alpha, labelSmoothing: label_smoothing })
    const got = await evaluated(model, objective, [batchOfPairs(golden.rows)])
    expectLikeGolden(golden, one, got)
    expectMetrics(got.metrics, one.metrics, METRICS_OF_PAIRS)
  })
})

interface Judged {
  prompt: number[]
  completion: number[]
  label: boolean
}
type JudgedCase = GoldenCase<Judged> & { klCompletions: number[][] | null; klBeforeClamp: number }

const ktoGolden = objectiveOf<Judged>('kto')
const ktoCases = (ktoGolden.cases as JudgedCase[]).filter(({ name }) => !name.includes('accumulation'))

describe.each(ktoCases)('$name', (one) => {
  test('is that of the reference', async () => {
    using model = await loadStart()
    const { loss_type, beta, desirable_weight, undesirable_weight } = one.options as Record<string, number>
    const objective = kto({
      lossType: [String(loss_type) as 'kto'],
      beta,
      desirableWeight: desirable_weight,
      undesirableWeight: undesirable_weight,
    })
    const batch = packBatch(
      one.rows!.flatMap(({ prompt, completion, label }, row) => {
        const own = { ...answerOf(prompt, completion), label: Number(label), row }
        return [own, { ...answerOf(prompt, one.klCompletions?.[row] ?? completion), row }]
      }),
    )
    const got = await evaluated(model, objective, [batch])
    expectLikeGolden(ktoGolden, one, got)
    expectMetrics(got.metrics, one.metrics, [
      'rewards/chosen',
      'rewards/rejected',
      'logps/chosen',
      'logps/rejected',
      'kl',
    ])
  })
})

test("KTO's training run has the losses and norms of the reference", async () => {
  using model = await loadStart()
  const { training } = ktoGolden
  const data = training.rows.map(({ prompt, completion, label }) => ({
    prompt_ids: prompt,
    completion_ids: completion,
    label,
  }))
  const steps = await trainLikeGolden(model, training, { objective: 'kto', data })
  expect(steps.length).toBe(training.steps.length)
  for (const [i, wanted] of training.steps.entries()) {
    const { loss, gradNorm, learningRate, metrics } = steps[i]!
    expect(Math.abs(loss - wanted.loss), `loss of step ${i + 1}`).toBeLessThan(1e-5)
    expect(Math.abs(gradNorm / wanted.gradNorm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-4)
    expect(learningRate).toBeCloseTo(wanted.learningRate, 12)
    expect(Math.abs(metrics!.kl! - wanted.kl!)).toBeLessThan(1e-4)
  }
})
