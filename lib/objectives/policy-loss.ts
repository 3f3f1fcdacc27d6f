/** Losses of a policy whose completions were rewarded: GRPO (arXiv 2402.03300) and its kin. */
import { type Batch, documentWeights, totalWeight, weightOfTargets } from '../batches/batch.js'
import { add, clamp, exp, mul, relu, sigmoid, sub } from '../tensor/operations/arithmetic.js'
import { gatherRows } from '../tensor/operations/indexing.js'
import { logSumExp, softmax, sum } from '../tensor/operations/reductions.js'
import { reshape } from '../tensor/operations/reshaping.js'
import { scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { AnswersOfBatch, referenceOf } from './answers.js'
import { minus } from './formulas.js'
import { type BatchLoss, type ForwardModel, type LossTensor, sumOverTargets, tokenLogProbs } from './objective.js'
import type { Rollout } from './rollouts.js'
import { meanSum } from './weighted-sum.js'

export const POLICY_LOSSES = ['dapo', 'grpo', 'bnpo', 'dr_grpo', 'cispo', 'sapo', 'luspo', 'vespo'] as const
type PolicyLoss = (typeof POLICY_LOSSES)[number]

export const SAMPLING_CORRECTIONS = ['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask'] as const

export interface PolicyLossOptions {
  readonly lossType: PolicyLoss
  /** Weight of the divergence from the reference. */
  readonly beta: number
  /** ρ is clipped to [1 − low, 1 + high]; of cispo, high is the cap itself. */
  readonly clip: { readonly low: number; readonly high: number }
  /** Maximum of ρ where it is not clipped. */
  readonly delta: number | undefined
  /** Whether ρ is of tokens, or of sequences (GSPO, arXiv 2507.18071). */
  readonly level: 'token' | 'sequence'
  /** Whether the divergence is multiplied by ρ. */
  readonly isKlCorrected: boolean
  readonly entropyCoef: number
  /** Answers with a negative advantage do not count beyond this mean of ln old − ln π. */
  readonly offPolicyLimit: number | undefined
  /** Divides the logits. */
  readonly temperature: number
  /** Maximum number of tokens of a completion. */
  readonly maxNewTokens: number
  /** Importance sampling: how old / sampled becomes a factor of the loss. */
  readonly correction:
    | { readonly mode: (typeof SAMPLING_CORRECTIONS)[number]; readonly min: number; readonly max: number }
    | undefined
}

/** Metrics of the loss. */
export const POLICY_METRICS = ['kl', 'clipFraction', 'clipFraction/low', 'clipFraction/high'] as const

/** A target. */
interface Token {
  readonly answer: number
  readonly advantage: number
  /** π / old, of the token or of its sequence. */
  readonly ratio: number
  /** Σ of ln π − ln old over the tokens of its answer. */
  readonly distance: number
}

/** The parts of each token's loss, [targets]. */
interface Parts {
  /** ln π */
  readonly policy: Tensor
  /** ρ = π / old */
  readonly ratio: Tensor
  readonly advantage: Tensor
  /** Returns a constant of each target. */
  constant(of: (token: Token) => number): Tensor
  readonly options: PolicyLossOptions
}

/** −min(ρ A, clip(ρ) A) */
const clipped = ({ ratio, advantage, options: { clip, delta } }: Parts): Tensor => {
  const first = mul(delta === undefined ? ratio : clamp(ratio, 0, delta), advantage)
  const second = mul(clamp(ratio, 1 - clip.low, 1 + clip.high), advantage)
  return sub(relu(sub(first, second)), first)
}

/** Slopes of SAPO for advantages above 0, and for others. */
const SAPO_SLOPES = [1, 1.05] as const
/** k and λ of VESPO for advantages from 0 on, and for others. */
const VESPO_SHAPES = [
  [2, 3],
  [3, 2],
] as const

const LOSSES: Readonly<Record<PolicyLoss, (parts: Parts) => Tensor>> = {
  dapo: clipped,
  grpo: clipped,
  bnpo: clipped,
  dr_grpo: clipped,
  luspo: clipped,
  // MiniMax-M1, arXiv 2506.13585, equation 4
  cispo: ({ policy, constant, options: { clip } }) =>
    mul(
      policy,
      constant(({ ratio, advantage }) => -Math.min(ratio, clip.high) * advantage),
    ),
  // arXiv 2511.20347, equation 5
  sapo({ ratio, constant }) {
    const slopeOf = (advantage: number) => SAPO_SLOPES[advantage > 0 ? 0 : 1]
    const gate = sigmoid(
      mul(
        sub(ratio, 1),
        constant(({ advantage }) => slopeOf(advantage)),
      ),
    )
    return mul(
      gate,
      constant(({ advantage }) => (-4 * advantage) / slopeOf(advantage)),
    )
  },
  // A gamma-shaped weight of the sequence's ratio, without gradient
  vespo: ({ policy, constant }) =>
    mul(
      policy,
      constant(({ advantage, distance }) => {
        const [k, lambda] = VESPO_SHAPES[advantage >= 0 ? 0 : 1]
        const w = Math.exp(distance)
        return -(w ** k) * Math.exp(lambda - lambda * w) * advantage
      }),
    ),
}

/** The divisor of the sum over tokens. */
const DIVISORS: Readonly<Record<PolicyLoss, 'tokens' | 'answers' | 'room'>> = {
  dapo: 'tokens',
  bnpo: 'tokens',
  cispo: 'tokens',
  vespo: 'tokens',
  grpo: 'answers',
  sapo: 'answers',
  luspo: 'answers',
  dr_grpo: 'room',
}
/** Losses in which each of an answer's n tokens counts 1 / n. */
const MEANS_OVER_TOKENS: ReadonlySet<PolicyLoss> = new Set(['grpo', 'sapo'])

/**
 * Returns the loss of rewarded completions.
 * @param rollouts the completions: one per document of the batch
 */
export async function policyLoss(
  model: ForwardModel,
  batch: Batch,
  rollouts: readonly Rollout[],
  options: PolicyLossOptions,
  { gradients }: { gradients: boolean },
): Promise<BatchLoss> {
  const { lossType, beta, temperature, entropyCoef, level } = options
  const answers = new AnswersOfBatch(batch, [...rollouts.keys()], batch)
  const { lengths } = answers
  const count = batch.targetTokens
  const weights = documentWeights(batch, rollouts.keys())
  const ofAnswers = totalWeight(weights, rollouts.length)
  const weight = {
    tokens: weightOfTargets(batch),
    answers: ofAnswers,
    room: ofAnswers * options.maxNewTokens,
  }[DIVISORS[lossType]]
  // Nothing can be learned without a token, or where no answer is better than another.
  const isFlat = beta === 0 && entropyCoef === 0 && rollouts.every(({ advantage }) => advantage === 0)
  if (count === 0 || isFlat) return { loss: nothing, weight, metrics: NO_METRICS }
  using reference = beta > 0 ? await tokenLogProbs(referenceOf(model), batch, { temperature, gradients: false }) : null
  using policy = await tokenLogProbs(model, batch, { temperature, gradients })
  const answerOf = lengths.flatMap((length, answer) => new Array<number>(length).fill(answer))
  const now = await policy.data()
  const logp = Array.from(now, Number)
  const old = rollouts.some((rollout) => rollout.old) ? rollouts.flatMap(({ old }) => [...old!]) : logp
  const sumsOf = (values: readonly number[]) => {
    const sums = lengths.map(() => 0)
    for (const [i, value] of values.entries()) sums[answerOf[i]!]! += value
    return sums
  }
  const moves = logp.map((value, i) => value - old[i]!)
  const distances = sumsOf(moves)
  const tokens: Token[] = answerOf.map((answer, i) => ({
    answer,
    advantage: rollouts[answer]!.advantage,
    ratio: Math.exp(level === 'token' ? moves[i]! : distances[answer]! / lengths[answer]!),
    distance: distances[answer]!,
  }))
  const values = (numbers: readonly number[]) =>
    Tensor.from(Float32Array.from(numbers), [count], { device: policy.device })
  const constant: Parts['constant'] = (of) => values(tokens.map(of))
  const shareOf = ({ answer }: Token) => (MEANS_OVER_TOKENS.has(lossType) ? 1 / lengths[answer]! : 1)
  const factors = policyFactors(tokens, lengths, old, rollouts, sumsOf, options)
  const { loss, divergence } = scope(() => {
    const moved = sub(policy, old === logp ? noGrad(() => mul(policy, 1)) : values(old))
    const means = () => answers.sums(moved, (answer) => 1 / lengths[answer]!)
    const ratio = exp(level === 'token' ? moved : ofTokens(means(), answerOf))
    const parts = { policy, ratio, advantage: constant(({ advantage }) => advantage), constant, options }
    let each = LOSSES[lossType](parts)
    if (factors) each = mul(each, values(factors))
    const d = reference && sub(reference, policy)
    const k3 = d && sub(sub(exp(d), d), 1)
    const divergence = k3 && (options.isKlCorrected ? mul(k3, ratio) : k3)
    if (divergence) each = add(each, mul(divergence, beta))
    const factor = (token: Token) => shareOf(token) * (weights?.[token.answer] ?? 1)
    return { loss: sum(mul(each, constant(factor))), divergence }
  })
  const kl = divergence ? Array.from(await divergence.data(), Number) : []
  divergence?.dispose()
  return {
    loss: entropyCoef === 0 ? loss : await withEntropy(loss, model, batch, tokens.map(shareOf), options, gradients),
    weight,
    metrics: { kl: meanSum(kl), ...clipMetrics(tokens, options) },
  }
}

/** The loss of a batch in which nothing can be learned. */
const nothing: LossTensor = { requiresGrad: false, item: async () => 0, backward: async () => {}, dispose() {} }
const NO_METRICS = Object.fromEntries(POLICY_METRICS.map((name) => [name, { sum: 0, weight: 0 }]))

/** Returns the value of each token's answer, [answers] to [tokens]. */
const ofTokens = (x: Tensor, answerOf: readonly number[]): Tensor =>
  reshape(gatherRows(reshape(x, [x.shape[0]!, 1]), answerOf), [answerOf.length])

/** Returns constants by which the policy's losses are multiplied; undefined if all are 1. */
function policyFactors(
  tokens: readonly Token[],
  lengths: readonly number[],
  old: readonly number[],
  rollouts: readonly Rollout[],
  sumsOf: (values: readonly number[]) => number[],
  { correction, offPolicyLimit }: PolicyLossOptions,
): number[] | undefined {
  if (!correction && offPolicyLimit === undefined) return undefined
  const isOff = ({ answer, advantage, distance }: Token) =>
    offPolicyLimit !== undefined && advantage < 0 && -distance / lengths[answer]! > offPolicyLimit
  const corrected = () => {
    const { mode, min, max } = correction!
    const gaps = rollouts.flatMap(({ sampled }) => sampled ?? []).map((sampled, i) => old[i]! - sampled)
    const ofSequences = sumsOf(gaps)
    return tokens.map(({ answer }, i) => {
      const ratio = Math.exp(mode.startsWith('token') ? gaps[i]! : ofSequences[answer]!)
      if (mode.endsWith('truncate')) return Math.min(Math.max(ratio, min), max)
      return ratio < min || ratio > max ? 0 : ratio
    })
  }
  const ratios = correction && rollouts.every(({ sampled }) => sampled) ? corrected() : tokens.map(() => 1)
  return tokens.map((token, i) => (isOff(token) ? 0 : ratios[i]!))
}

/** Shares of tokens (of sequences, at their level) whose ratio is clipped. */
function clipMetrics(tokens: readonly Token[], { clip, level, lossType }: PolicyLossOptions): BatchLoss['metrics'] {
  const counted = level === 'token' ? tokens : tokens.filter(({ answer }, i) => answer !== tokens[i - 1]?.answer)
  const isLow = ({ ratio, advantage }: Token) => ratio < 1 - clip.low && advantage < 0
  const high = lossType === 'cispo' ? clip.high : 1 + clip.high
  const isHigh = ({ ratio, advantage }: Token) => ratio > high && advantage > 0
  const share = (is: (token: Token) => boolean) => meanSum(counted.map((token) => Number(is(token))))
  return {
    clipFraction: share((token) => isLow(token) || isHigh(token)),
    'clipFraction/low': share(isLow),
    'clipFraction/high': share(isHigh),
  }
}

/** Adds minus the entropy of each token's distribution, times its share and the coefficient. */
async function withEntropy(
  loss: Tensor,
  model: ForwardModel,
  batch: Batch,
  shares: readonly number[],
  { entropyCoef, temperature }: PolicyLossOptions,
  gradients: boolean,
): Promise<Tensor> {
  let from = 0
  const { loss: entropy } = await sumOverTargets(model, batch, { gradients }, (logits, targets) => {
    const own = Float32Array.from(shares.slice(from, from + targets.length), (share) => share * entropyCoef)
    from += targets.length
    const x = mul(logits, 1 / temperature)
    const entropies = sub(logSumExp(x), sum(mul(softmax(x), x), 1))
    return minus(mul(entropies, Tensor.from(own, [own.length], { device: x.device })))
  })
  const both = scope(() => add(loss, entropy as Tensor))
  loss.dispose()
  entropy.dispose()
  return both
}
