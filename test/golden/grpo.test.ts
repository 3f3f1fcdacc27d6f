/** GRPO and its kin against TRL: advantages, losses and gradients. */
import { afterAll, describe, expect, test } from 'vitest'
import type { Batch } from '../../lib/batches/batch.js'
import { packBatch } from '../../lib/batches/packing.js'
import { advantagesOf } from '../../lib/objectives/advantages.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { type PolicyLossOptions, policyLoss } from '../../lib/objectives/policy-loss.js'
import { type Rollout, rolloutsOf } from '../../lib/objectives/rollouts.js'
import { type StepEvent, train } from '../../lib/train/index.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { wholeGolden } from './files.js'
import { evaluated, expectLikeGolden, type GoldenCase, type GoldenObjective, loadStart } from './objectives.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface Completion {
  prompt: number[]
  completion: number[]
}
interface PolicyCase extends GoldenCase<Completion> {
  onPolicy: boolean
  rewards: number[][]
  advantages: number[]
  masked?: number[]
  tokenLogps?: Record<'policy' | 'old' | 'reference', number[][]>
  toolMask?: number[][]
  samplingTokenLogps?: number[][]
  microBatches?: number[][]
}
interface GoldenPolicy extends GoldenObjective<Completion> {
  groupSize: number
  maxCompletionLength: number
  tokenLogps: Record<'policy' | 'old' | 'reference', number[][]>
  cases: PolicyCase[]
}

const golden = wholeGolden<GoldenPolicy>('objectives/grpo.json')

type Options = Readonly<Record<string, number & string & boolean>>

function advantageOptions(options: Options, kinds: number) {
  return {
    groupSize: golden.groupSize,
    scaleRewards: options.scale_rewards ?? 'group',
    weights: (options.reward_weights as unknown as number[]) ?? new Array(kinds).fill(1),
    aggregation: options.multi_objective_aggregation ?? 'sum_then_normalize',
  } as Parameters<typeof advantagesOf>[1]
}

/** TRL's options in our words. */
function lossOptions(options: Options): PolicyLossOptions {
  const low = options.epsilon ?? 0.2
  const mode = options.vllm_importance_sampling_mode as string | undefined
  const { vllm_importance_sampling_clip_max: max, vllm_importance_sampling_clip_min: min } = options
  return {
    lossType: String(options.loss_type) as PolicyLossOptions['lossType'],
    beta: options.beta ?? 0,
    clip: { low, high: options.epsilon_high ?? low },
    delta: options.delta,
    level: (options.importance_sampling_level as 'sequence' | undefined) ?? 'token',
    isKlCorrected: options.use_bias_correction_kl ?? true,
    entropyCoef: options.entropy_coef ?? 0,
    offPolicyLimit: options.off_policy_mask_threshold,
    temperature: options.temperature ?? 1,
    maxNewTokens: golden.maxCompletionLength,
    correction: mode ? { mode: mode as 'token_mask', min: min ?? 0, max: max ?? 3 } : undefined,
  }
}

/** Whether each token of an answer is trained. */
const maskOf = (one: PolicyCase, row: number): number[] =>
  golden.rows[row]!.completion.map((_, token) => (one.masked?.includes(row) ? 0 : (one.toolMask?.[row]?.[token] ?? 1)))

function batchOf(one: PolicyCase, rows: readonly number[]): Batch {
  return packBatch(
    rows.map((row) => {
      const { prompt, completion } = golden.rows[row]!
      return { ids: [...prompt, ...completion], mask: [...prompt.map(() => 0), ...maskOf(one, row)], row }
    }),
  )
}

function givenRollouts(one: PolicyCase): Rollout[] {
  const trained = (all: number[][], row: number) => all[row]!.filter((_, token) => maskOf(one, row)[token] === 1)
  const { old } = one.tokenLogps ?? golden.tokenLogps
  return golden.rows.map((_, row) => ({
    advantage: one.advantages[row]!,
    ...(!one.onPolicy && { old: trained(old, row) }),
    ...(one.samplingTokenLogps && { sampled: trained(one.samplingTokenLogps, row) }),
  }))
}

/** The quantile of entropies is of a whole generation, which no pass knows; passes of bnpo are not divided by their own tokens. */
const isOurs = ({ name }: PolicyCase) =>
  !name.includes('top_entropy_quantile') && !(name.startsWith('bnpo') && name.includes('accumulation'))

describe.each(golden.cases.filter(isOurs))('$name', (one) => {
  test('advantages are those of the reference', async () => {
    const got = await advantagesOf(one.rewards, advantageOptions(one.options as Options, one.rewards.length))
    for (const [i, value] of one.advantages.entries()) expect(got[i]).toBeCloseTo(value, 10)
  })

  test('loss and gradient are those of the reference, in passes of any rows', async () => {
    using model = await loadStart()
    const rollouts = givenRollouts(one)
    const objective: Objective = {
      name: 'policy',
      loss: (model, batch, how) => {
        const rows = Array.from(batch.offsets.subarray(0, batch.rows), (start) => Number(batch.rowKeys[start]! >> 32n))
        return policyLoss(
          model,
          batch,
          rows.map((row) => rollouts[row]!),
          lossOptions(one.options as Options),
          how,
        )
      },
    }
    const all = [...golden.rows.keys()]
    const got = await evaluated(
      model,
      objective,
      (one.microBatches ?? [all]).map((rows) => batchOf(one, rows)),
    )
    expectLikeGolden(golden, one, got)
    const names: Record<string, string> = {
      kl: 'kl',
      'clipFraction/low': 'clip_ratio/low_mean',
      'clipFraction/high': 'clip_ratio/high_mean',
      clipFraction: 'clip_ratio/region_mean',
    }
    for (const [name, theirs] of Object.entries(names)) {
      const value = one.metrics[theirs]
      if (value !== undefined) expect(got.metrics[name], name).toBeCloseTo(value, 5)
    }
  })
})

interface Generation {
  rows: Completion[]
  rewards: number[]
}
interface PolicyTraining {
  options: Record<
    'beta' | 'learningRate' | 'warmupSteps' | 'maxSteps' | 'num_iterations' | 'epsilon' | 'epsilon_high',
    number
  >
  generations: Generation[]
  steps: { loss: number; gradNorm: number; learningRate: number; kl: number }[]
  finalLogps: number[][]
}

test('a run over several iterations has the losses and norms of the reference', async () => {
  using model = await loadStart()
  const { options, generations, steps: wanted } = golden.training as unknown as PolicyTraining
  const { beta, learningRate, warmupSteps, maxSteps, num_iterations: times, epsilon, epsilon_high } = options
  const settings = lossOptions({ loss_type: 'dapo', beta, epsilon, epsilon_high } as unknown as Options)
  /** Answers that were given instead of sampled. */
  const objective: Objective = {
    name: 'given',
    metrics: ['kl'],
    reuse: { steps: 1, times },
    loss: (model, batch, { gradients, rollouts }) =>
      policyLoss(model, batch, rolloutsOf(batch, rollouts), settings, { gradients }),
    async sample(_, context) {
      const { rows, rewards } = generations[Number(context.draws) / times]!
      const advantages = await advantagesOf([rewards], advantageOptions({}, 1))
      const sampled = rows.map(({ prompt, completion }, row) => {
        const ids = Int32Array.from([...prompt, ...completion])
        return { row, documents: [{ ids, mask: Uint8Array.from(ids, (_, i) => Number(i >= prompt.length)) }] }
      })
      const old = await context.logProbs(sampled, 1)
      const rollouts = new Map(sampled.map(({ row }) => [row, { advantage: advantages[row]!, old: old.get(row)! }]))
      return { rows: sampled, rollouts, metrics: {}, records: [] }
    },
  }
  const steps: StepEvent[] = []
  const run = train(model, {
    ...{
      method: 'lora',
      objective,
      data: [{ input_ids: [1, 2] }, { input_ids: [1, 3] }],
      batchSize: 1,
      shuffle: false,
    },
    ...{ learningRate, warmupSteps, maxSteps, scheduler: 'linear', maxGradNorm: 1 },
  })
  for await (const event of run) if (event.type === 'step') steps.push(event)
  for (const [i, { loss, gradNorm, learningRate, kl }] of wanted.entries()) {
    expect(Math.abs(steps[i]!.loss - loss), `loss of step ${i + 1}`).toBeLessThan(2e-5)
    expect(Math.abs(steps[i]!.gradNorm - gradNorm) / gradNorm, `norm of step ${i + 1}`).toBeLessThan(1e-4)
    expect(steps[i]!.learningRate).toBeCloseTo(learningRate, 10)
    expect(steps[i]!.metrics!.kl).toBeCloseTo(kl, 5)
  }
})
