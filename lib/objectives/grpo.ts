import type { StepRow } from '../batches/step-rows.js'
import { aFunction, check, optionsSchema } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import type { AnyRow, DataInput, RowOf } from '../rows/sources/source.js'
import { advantagesOf, deviationOf, inGroups, weightedTotals } from './advantages.js'
import { type Environment, type Episode, playAll, trainedEpisode } from './episodes.js'
import { type BuiltInObjective, type Objective, TWO_TOKENS } from './objective.js'
import { checkedOptions, type ObjectiveInput, optionsOf } from './objective-options.js'
import { POLICY_METRICS, type PolicyLoss, policyLoss } from './policy-loss.js'
import { loadQuestions, type Question } from './questions.js'
import { judge, namedRewards, type Rewards } from './rewards.js'
import { type Rollout, rolloutsOf, type SampledStep } from './rollouts.js'
import { checkTools, type Tools } from './tools.js'
import { meanSum } from './weighted-sum.js'

/** Options of group relative policy optimisation, mostly with the names and defaults of TRL. */
export interface GrpoOptions<Row = AnyRow>
  extends Pick<
    ObjectiveInput,
    | (
        | 'beta'
        | 'lossType'
        | 'rewardWeights'
        | 'groupSize'
        | 'maxNewTokens'
        | 'maxTurns'
        | 'temperature'
        | 'topK'
        | 'topP'
      )
    | ('clipEpsilon' | 'epsilonHigh' | 'delta' | 'importanceSamplingLevel' | 'scaleRewards')
    | ('multiObjectiveAggregation' | 'useBiasCorrectionKl' | 'maskTruncatedCompletions' | 'entropyCoef')
    | ('offPolicyMaskThreshold' | 'importanceSamplingMode' | 'importanceSamplingMin' | 'importanceSamplingMax')
    | ('stepsPerGeneration' | 'numIterations' | 'rewardConcurrency' | 'rewardTimeout' | 'toolTimeout' | 'failedReward')
  > {
  /** Prompts, if the run has no option `data`: rows with a prompt or messages, and columns for rewards. */
  prompts?: DataInput
  /** Functions that score a completion, in a list or by name; the reward is their sum. */
  rewards: Rewards<Row>
  /** Functions that the model may call, by name. What they return stands between the model's turns and is not trained. */
  tools?: Tools
  /** Creates the environment of a rollout: functions that the model may call, and replies to its turns. */
  environment?: () => Environment<Row>
}

const grpoArguments = { options: optionsSchema('the options of grpo', { environment: aFunction.optional() }) }

/**
 * Group relative policy optimisation (arXiv 2402.03300) and its kin: the model answers each prompt several times, `rewards` score the
 * completions, and completions above their group's average are reinforced. Rows of data are prompts; `batchSize` counts them. The loss is TRL's, by default DAPO's (arXiv 2503.14476); with `beta` the model stays near the model without the adapter.
 *
 * ```ts
 * import { grpo, loadModel, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const short = ({ completion }: { completion: string }) => -completion.length / 100
 * const objective = grpo({ rewards: { short }, groupSize: 4, maxNewTokens: 16 })
 * await train(model, { objective, data: [{ prompt: 'Name a colour.' }], maxSteps: 2 }).finished
 * ```
 *
 * @throws UsageError for an option of the wrong type or range
 */
export function grpo<Data extends DataInput>(options: GrpoOptions<RowOf<Data>> & { prompts: Data }): Objective
/** Returns the objective for the prompts of the run's option `data`, whose type `Row` names. */
export function grpo<Row = AnyRow>(options: GrpoOptions<NoInfer<Row>>): Objective
export function grpo(options: GrpoOptions): Objective {
  check({ options }, grpoArguments)
  const { rewards: given, prompts, tools = {}, environment, ...others } = options
  const rewards = namedRewards(given)
  checkTools(tools)
  const settings = settingsOf(others, rewards.length)
  const { groupSize, loss, reuse, maskTruncated, needsOld, needsSampled } = settings
  const hasTools = Object.keys(tools).length > 0
  const episodes = { ...settings.episodes, tools, environment }
  return {
    name: 'grpo',
    options: optionsOf('grpo', others),
    live: { rewards: given, tools, ...(environment && { environment }) },
    ...(prompts !== undefined && { data: prompts }),
    metrics: [
      ...['reward', 'rewardStd', 'zeroStd', ...rewards.map(([name]) => `reward/${name}`)],
      ...['completionLength', 'truncated', ...(hasTools || environment ? ['toolCalls', 'toolErrors'] : [])],
      ...['samplingSeconds', 'rewardSeconds', ...POLICY_METRICS],
    ],
    smallRow: [TWO_TOKENS],
    reuse,
    load: (source, how) => loadQuestions(source, how, { maxNewTokens: loss.maxNewTokens, tools }),
    loss: (model, batch, { gradients, rollouts }) =>
      policyLoss(model, batch, rolloutsOf(batch, rollouts), loss, { gradients }),
    async sample(rows, context) {
      const { answers = groupSize, signal } = context
      const asked = rows.flatMap(({ documents, row }) =>
        Array.from({ length: answers }, (_, i) => ({ question: documents[0] as Question, place: row * answers + i })),
      )
      const start = performance.now()
      const played = await playAll(asked, context, episodes)
      const written = performance.now()
      const values = await judge(played, rewards, settings.judging, signal)
      const seconds = { sampling: (written - start) / 1000, rewards: (performance.now() - written) / 1000 }
      const judged = { played, values, names: rewards.map(([name]) => name), seconds }
      const own = await advantagesOf(values, { ...settings.advantages, groupSize: answers }, context.sum)
      const isLeftOut = ({ hasEnded }: Episode) => maskTruncated && !hasEnded
      const trained: StepRow[] = played.map((episode, i) => ({
        ...trainedEpisode(episode, { isLeftOut: isLeftOut(episode) }),
        row: asked[i]!.place,
      }))
      const old = needsOld ? await context.logProbs(trained, loss.temperature) : null
      const known = (episode: Episode, i: number): Rollout => ({
        advantage: own[i]!,
        ...(needsSampled && { sampled: isLeftOut(episode) ? [] : episode.sampled }),
        ...(old && { old: old.get(asked[i]!.place)! }),
      })
      return {
        rows: trained,
        rollouts: new Map(played.map((episode, i) => [asked[i]!.place, known(episode, i)])),
        metrics: metricsOf(judged, { groupSize: answers, weights: settings.advantages.weights }),
        records: recordsOf(judged, own),
        toolError: played.flatMap(({ errors }) => errors)[0],
      }
    },
  }
}

/** Answers with their rewards: of each kind, one for each answer. */
interface Judged {
  readonly played: readonly Episode[]
  readonly values: readonly (readonly number[])[]
  readonly names: readonly string[]
  readonly seconds: { readonly sampling: number; readonly rewards: number }
}

function metricsOf(
  { played, values, names, seconds }: Judged,
  { groupSize, weights }: { groupSize: number; weights: readonly number[] },
): SampledStep['metrics'] {
  const totals = weightedTotals(values, weights)
  const deviations = inGroups(totals, groupSize, (group) => [deviationOf(group)])
  return {
    reward: meanSum(totals),
    rewardStd: meanSum(deviations),
    zeroStd: meanSum(deviations.map((deviation) => Number(deviation === 0))),
    ...Object.fromEntries(names.map((name, kind) => [`reward/${name}`, meanSum(values[kind]!)])),
    completionLength: meanSum(played.map(({ mask }) => mask.filter(Boolean).length)),
    truncated: meanSum(played.map(({ hasEnded }) => Number(!hasEnded))),
    toolCalls: meanSum(played.map(({ calls }) => calls)),
    toolErrors: meanSum(played.map(({ errors }) => errors.length)),
    samplingSeconds: { sum: seconds.sampling, weight: 1 },
    rewardSeconds: { sum: seconds.rewards, weight: 1 },
  }
}

const recordsOf = ({ played, values, names }: Judged, advantages: readonly number[]): SampledStep['records'] =>
  played.map(({ question: { prompt }, completion, messages, calls }, i) => ({
    prompt,
    completion,
    ...(calls > 0 && { messages }),
    rewards: Object.fromEntries(names.map((name, kind) => [name, values[kind]![i]!])),
    advantage: advantages[i]!,
  }))

export const grpoObjective = {
  name: 'grpo',
  help: 'rewards answers that are better than others of the model to the same prompt',
  needs: ['rewards'],
  needsReference: ({ beta }) => Number(beta ?? 0) > 0,
  loss: () => Promise.reject(withoutRewards()),
  withOptions(options) {
    const { rewards, ...others } = optionsOf<{ rewards?: unknown }>('grpo', options)
    const { tools, environment } = options as Partial<GrpoOptions>
    if (!rewards) throw withoutRewards()
    return grpo({
      ...others,
      rewards: rewards as Rewards,
      ...(tools && { tools }),
      ...(environment && { environment }),
    })
  },
} as const satisfies BuiltInObjective

const withoutRewards = () =>
  new UsageError(
    'missing-option',
    `The objective grpo needs rewards: name a module of them (${theOption('rewards')}), or give objective: grpo({ rewards }) in a program.`,
  )

function settingsOf(options: Omit<GrpoOptions, 'rewards' | 'prompts' | 'tools' | 'environment'>, count: number) {
  const settings = checkedOptions('grpo', options)
  const {
    clipEpsilon = 0.2,
    lossType = [],
    rewardWeights = new Array<number>(count).fill(1),
    maxNewTokens = 256,
  } = settings
  const { temperature = 1, topK = 0, topP = 1, stepsPerGeneration = 1, numIterations = 1 } = settings
  const { importanceSamplingMode: mode, importanceSamplingMin: min = 0, importanceSamplingMax: max = 3 } = settings
  const refuse = (isWrong: boolean, message: string) => {
    if (isWrong) throw new UsageError('bad-value', message)
  }
  refuse(
    rewardWeights.length !== count,
    `Expected a weight for each of the ${count} rewards but received ${rewardWeights.length} in ${optionName('rewardWeights')}.`,
  )
  refuse(
    lossType.length > 1,
    `Expected one loss of grpo for ${optionName('lossType')} but received ${lossType.length}.`,
  )
  refuse(
    mode !== undefined && (temperature !== 1 || topK > 0 || topP < 1),
    `${optionName('importanceSamplingMode')} needs probabilities that sampling did not change: leave temperature, ${optionName('topK')} and ${optionName('topP')} at their defaults.`,
  )
  const isReused = stepsPerGeneration * numIterations > 1
  return {
    groupSize: settings.groupSize ?? 8,
    maskTruncated: settings.maskTruncatedCompletions ?? false,
    reuse: { steps: stepsPerGeneration, times: numIterations },
    /** Later steps train other weights than the sampling ones. */
    needsOld: isReused,
    needsSampled: mode !== undefined,
    advantages: {
      scaleRewards: settings.scaleRewards ?? 'group',
      weights: rewardWeights,
      aggregation: settings.multiObjectiveAggregation ?? 'sum_then_normalize',
    },
    judging: {
      rewardConcurrency: settings.rewardConcurrency ?? 16,
      rewardTimeout: settings.rewardTimeout ?? 60,
      failedReward: settings.failedReward,
    },
    episodes: {
      maxNewTokens,
      maxTurns: settings.maxTurns ?? 8,
      sampling: { temperature, topK, topP },
      logprobs: mode !== undefined,
      toolTimeout: settings.toolTimeout ?? 30,
    },
    loss: {
      lossType: (lossType[0] ?? 'dapo') as PolicyLoss,
      beta: settings.beta ?? 0,
      clip: { low: clipEpsilon, high: settings.epsilonHigh ?? clipEpsilon },
      delta: settings.delta,
      level: settings.importanceSamplingLevel ?? 'token',
      isKlCorrected: settings.useBiasCorrectionKl ?? true,
      entropyCoef: settings.entropyCoef ?? 0,
      offPolicyLimit: settings.offPolicyMaskThreshold,
      temperature,
      maxNewTokens,
      correction: mode && { mode, min, max },
    },
  } as const
}
