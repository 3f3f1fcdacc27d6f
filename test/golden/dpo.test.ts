/** DPO and its kin against TRL: losses, gradients, metrics, and a training run. */
import { afterAll, describe, expect, test } from 'vitest'
import { dpo } from '../../lib/objectives/dpo.js'
import { drawnIfEmulated } from '../drawn.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import {
  answerOf,
  batchOfPairs,
  evaluated,
  expectLikeGolden,
  expectMetrics,
  type GoldenPair,
  loadStart,
  METRICS_OF_PAIRS,
  objectiveOf,
  trainLikeGolden,
} from './objectives.js'
import { batchOf } from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const golden = objectiveOf<GoldenPair>('dpo')

/** TRL's options in our words. */
function optionsOf(options: Readonly<Record<string, unknown>>): Parameters<typeof dpo>[0] {
  const names: Record<string, string> = {
    beta: 'beta',
    label_smoothing: 'labelSmoothing',
    loss_weights: 'lossWeights',
    ld_alpha: 'ldAlpha',
    use_weighting: 'useWeighting',
    f_divergence_type: 'fDivergenceType',
    f_alpha_divergence_coef: 'fAlphaDivergenceCoef',
    discopop_tau: 'discopopTau',
  }
  const given = Object.entries(options).flatMap(([name, value]) => (names[name] ? [[names[name], value]] : []))
  return { lossType: [options.loss_type].flat(), ...Object.fromEntries(given) } as Parameters<typeof dpo>[0]
}

/** TRL averages the means of micro-batches. */
const isOurs = ({ name }: { name: string }) => !name.includes('accumulation')

describe.each(drawnIfEmulated('cases of DPO', golden.cases.filter(isOurs), 10))('$name', (one) => {
  test('loss, gradient and metrics are those of the reference', async () => {
    using model = await loadStart()
    const batch = batchOfPairs(golden.rows, (one.options.max_length as number | null) ?? undefined)
    const got = await evaluated(model, dpo(optionsOf(one.options)), [batch])
    expectLikeGolden(golden, one, got)
    expectMetrics(got.metrics, one.metrics, [...METRICS_OF_PAIRS, 'logps/chosen', 'logps/rejected'])
  })
})

test.each([false, true])(
  'a training run has the losses, norms and log-probabilities of the reference',
  async (isOnce) => {
    using model = await loadStart()
    const { training } = golden
    const data = training.rows.map(({ prompt, chosen, rejected }) => ({
      prompt_ids: prompt,
      chosen_ids: chosen,
      rejected_ids: rejected,
    }))
    const steps = await trainLikeGolden(model, training, { objective: 'dpo', precomputeReference: isOnce, data })
    expect(steps.length).toBe(training.steps.length)
    for (const [i, wanted] of training.steps.entries()) {
      const { loss, gradNorm, learningRate, metrics } = steps[i]!
      expect(Math.abs(loss - wanted.loss), `loss of step ${i + 1}`).toBeLessThan(1e-5)
      expect(Math.abs(gradNorm / wanted.gradNorm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-4)
      expect(learningRate).toBeCloseTo(wanted.learningRate, 12)
      expect(Math.abs(metrics!.margins! - wanted.margins!)).toBeLessThan(1e-5)
      expect(metrics!.accuracy).toBeCloseTo(wanted.accuracies!, 10)
    }
    for (const side of ['chosen', 'rejected'] as const) {
      for (const [i, row] of training.rows.entries()) {
        const { ids, mask } = answerOf(row.prompt, row[side])
        const labels = ids.map((id, t) => (mask[t] ? id : -100))
        const logProbs = await model.tokenLogProbs(batchOf([{ input_ids: ids, labels }]))
        const sum = logProbs.reduce((total, value) => total + value, 0)
        expect(Math.abs(sum - training.finalLogps[side]![i]!), `${side} ${i}`).toBeLessThan(2e-4)
      }
    }
  },
)
