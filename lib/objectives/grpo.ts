import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { StepRow } from '../batches/step-rows.js'
import { aFunction, anObject, check, optionsSchema } from '../common/arguments.js'
import { InputError, UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import { importModule } from '../common/user-module.js'
import type { AnyRow, DataInput, RowOf } from '../rows/sources/source.js'
import { choices, optionalChoice, optionalFlag, optionalInteger, optionalReal, reals, text } from '../schema/option.js'
import { inGroup, type LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { advantagesOf, deviationOf, inGroups, weightedTotals } from './advantages.js'
import { type Environment, type Episode, maxNewTokens, playAll, trainedEpisode } from './episodes.js'
import { type BuiltInObjective, type Objective, TWO_TOKENS } from './objective.js'
import { POLICY_LOSSES, POLICY_METRICS, policyLoss, SAMPLING_CORRECTIONS } from './policy-loss.js'
import { loadQuestions, type Question } from './questions.js'
import { judge, namedRewards, type Reward, type Rewards } from './rewards.js'
import { OWN_ANSWERS, type Rollout, rolloutsOf, type SampledStep } from './rollouts.js'
import { checkTools, type Tools } from './tools.js'
import { meanSum } from './weighted-sum.js'

export const GrpoSchema = z.strictObject({
  beta: optionalReal('how much leaving the reference costs', { min: 0, defaultText: '0' }),
  lossType: choices("the loss by TRL's name", POLICY_LOSSES, { most: 1, defaultText: 'dapo' }),
  ...inGroup(OWN_ANSWERS, {
    rewards: text('JavaScript or TypeScript module whose exported functions are the rewards', 'FILE', {
      expects: 'the path of a module',
    }),
    rewardWeights: reals('weights of the rewards, in their order', { defaultText: '1 each' }),
    groupSize: optionalInteger('number of completions per prompt', {
      min: 2,
      defaultText: '8',
    }),
    maxNewTokens,
    maxTurns: optionalInteger('maximum number of turns per episode', {
      min: 1,
      defaultText: '8',
    }),
    temperature: optionalReal('divides the logits, in sampling and in training', { above: 0, defaultText: '1' }),
    topK: optionalInteger('sample from the K likeliest tokens; 0: from all', { min: 0, defaultText: '0' }),
    topP: optionalReal('sample from the smallest set of tokens with this total probability', {
      above: 0,
      max: 1,
      defaultText: '1',
    }),
    clipEpsilon: optionalReal('clip range of the probability ratio (epsilon of TRL)', {
      min: 0,
      defaultText: '0.2',
    }),
    epsilonHigh: optionalReal('upper clip range; the maximum weight of cispo', {
      min: 0,
      defaultText: '--clip-epsilon',
    }),
    delta: optionalReal('maximum of the ratio where it is not clipped', {
      above: 1,
      defaultText: 'no limit',
    }),
    importanceSamplingLevel: optionalChoice('level of the probability ratio', ['token', 'sequence'], {
      defaultText: 'token; sequence is GSPO',
    }),
    scaleRewards: optionalChoice('standard deviation that divides centred rewards', ['group', 'batch', 'none'], {
      defaultText: 'group',
    }),
    multiObjectiveAggregation: optionalChoice(
      'order in which several rewards are summed and normalised',
      ['sum_then_normalize', 'normalize_then_sum'],
      { defaultText: 'sum_then_normalize' },
    ),
    useBiasCorrectionKl: optionalFlag('multiply the divergence from the reference by the probability ratio', {
      defaultText: 'true',
    }),
    maskTruncatedCompletions: optionalFlag('leave truncated completions out of the loss'),
    entropyCoef: optionalReal('weight of an entropy bonus', {
      min: 0,
      defaultText: '0',
    }),
    offPolicyMaskThreshold: optionalReal(
      'leave completions with a negative advantage out once their mean log-probability has fallen by this',
      {
        above: 0,
        defaultText: 'no limit',
      },
    ),
    importanceSamplingMode: optionalChoice(
      'importance sampling between the probabilities of sampling and training',
      SAMPLING_CORRECTIONS,
      { defaultText: 'none' },
    ),
    importanceSamplingMin: optionalReal('minimum factor of importance sampling', { min: 0, defaultText: '0' }),
    importanceSamplingMax: optionalReal('maximum factor of importance sampling', { above: 0, defaultText: '3' }),
    stepsPerGeneration: optionalInteger('steps per sampling of completions', {
      min: 1,
      defaultText: '1',
    }),
    numIterations: optionalInteger('times that each completion is trained', { min: 1, defaultText: '1' }),
    rewardConcurrency: optionalInteger('maximum number of concurrent calls of rewards', { min: 1, defaultText: '16' }),
    rewardTimeout: optionalReal('time limit of a reward, in seconds', {
      above: 0,
      placeholder: 'S',
      defaultText: '60',
    }),
    toolTimeout: optionalReal('time limit of a tool or an environment, in seconds', {
      above: 0,
      placeholder: 'S',
      defaultText: '30',
    }),
    failedReward: optionalReal('reward in place of a failed one', {
      defaultText: 'the run ends',
    }),
  }),
})

/** The options of GRPO that files can give. */
type GrpoInput = LibraryInput<typeof GrpoSchema>

/** Options of group relative policy optimisation, mostly with the names and defaults of TRL. */
export interface GrpoOptions<Row = AnyRow> extends Omit<GrpoInput, 'rewards'> {
  /** Prompts, if the run has no option `data`: rows with a prompt or messages, and columns for rewards. */
  prompts?: DataInput
  /** Functions that score a completion, in a list or by name; the reward is their sum. */
  rewards: Rewards<Row>
  /** Functions that the model may call, by name. What they return stands between the model's turns and is not trained. */
  tools?: Tools
  /** Creates the environment of a rollout: functions that the model may call, and replies to its turns. */
  environment?: () => Environment<Row>
  /**
   * JSON schema that completions fit: tokens that do not fit are not sampled. Their probabilities remain those of the free model, which so
   * learns the form too.
   */
  schema?: Readonly<Record<string, unknown>>
}

const grpoArguments = {
  options: optionsSchema('the options of grpo', { environment: aFunction.optional(), schema: anObject.optional() }),
}

/**
 * Group relative policy optimisation (arXiv 2402.03300) and its kin: the model answers each prompt several times, `rewards` score the
 * completions, and completions above their group's average are reinforced. Rows of data are prompts; `batchSize` counts them. The loss is TRL's, by default
 * DAPO's (arXiv 2503.14476); with `beta` the model stays near the model without the adapter.
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
  const { rewards: given, prompts, tools = {}, environment, schema, ...others } = options
  const rewards = namedRewards(given)
  checkTools(tools)
  const settings = settingsOf(others, rewards.length)
  const { groupSize, loss, reuse, maskTruncated, needsOld, needsSampled } = settings
  const hasTools = Object.keys(tools).length > 0
  if (schema && (hasTools || environment || needsSampled)) {
    const other = hasTools ? 'tools' : environment ? 'environment' : optionName('importanceSamplingMode')
    throw new UsageError('unfit-options', `The schema of grpo cannot be combined with ${other}: leave one of them out.`)
  }
  const episodes = { ...settings.episodes, tools, environment, schema }
  return {
    name: 'grpo',
    options: plainOptions(others),
    ...(schema && { hashes: { schema: createHash('sha256').update(JSON.stringify(schema)).digest('hex') } }),
    functions: { rewards: given, tools, environment },
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
      const requests = rows.flatMap(({ documents, row }) =>
        Array.from({ length: answers }, (_, i) => ({ question: documents[0] as Question, place: row * answers + i })),
      )
      const start = performance.now()
      const played = await playAll(requests, context, episodes)
      const sampled = performance.now()
      const values = await judge(played, rewards, settings.judging, signal)
      const seconds = { sampling: (sampled - start) / 1000, rewards: (performance.now() - sampled) / 1000 }
      const judged = { played, values, names: rewards.map(([name]) => name), seconds }
      const own = await advantagesOf(values, { ...settings.advantages, groupSize: answers }, context.sum)
      const isLeftOut = ({ hasEnded }: Episode) => maskTruncated && !hasEnded
      const trained: StepRow[] = played.map((episode, i) => ({
        ...trainedEpisode(episode, { isLeftOut: isLeftOut(episode) }),
        row: requests[i]!.place,
      }))
      const old = needsOld ? await context.logProbs(trained, loss.temperature) : null
      const known = (episode: Episode, i: number): Rollout => ({
        advantage: own[i]!,
        ...(needsSampled && { sampled: isLeftOut(episode) ? [] : episode.sampled }),
        ...(old && { old: old.get(requests[i]!.place)! }),
      })
      return {
        rows: trained,
        rollouts: new Map(played.map((episode, i) => [requests[i]!.place, known(episode, i)])),
        metrics: metricsOf(judged, { groupSize: answers, weights: settings.advantages.weights }),
        records: recordsOf(judged, own),
        toolError: played.flatMap(({ errors }) => errors)[0],
      }
    },
  }
}

/** Episodes with their rewards: of each kind, one per episode. */
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

/**
 * Loads a module of the user's: each function that it exports is a reward of that name, but for `environment`; `tools` are functions
 * for the model. The module's code runs in this process.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-module` if it cannot be run, or exports no reward
 */
async function loadRewards(path: string): Promise<Pick<GrpoOptions, 'rewards' | 'tools' | 'environment'>> {
  const { tools, environment, ...others } = (await importModule(path, 'rewards')) as Partial<GrpoOptions> &
    Record<string, unknown>
  const rewards = Object.entries(others).filter(([, value]) => typeof value === 'function') as [string, Reward][]
  if (rewards.length === 0) {
    throw new InputError(
      'malformed-module',
      `The rewards ${path} export no function, such as: export const short = ({ completion }) => -completion.length`,
    )
  }
  return { rewards: Object.fromEntries(rewards), ...(tools && { tools }), ...(environment && { environment }) }
}

export const grpoObjective = {
  name: 'grpo',
  help: 'reinforces completions whose rewards are above the average of their prompt',
  schema: GrpoSchema,
  needs: ['rewards'],
  needsReference: ({ beta }) => Number(beta ?? 0) > 0,
  async make({ rewards, ...others }: GrpoInput) {
    if (rewards) return grpo({ ...others, ...(await loadRewards(rewards)) })
    throw new UsageError(
      'missing-option',
      `The objective grpo needs rewards: name a module of them (${theOption('rewards')}), or give objective: grpo({ rewards }) in a program.`,
    )
  },
} as const satisfies BuiltInObjective

function settingsOf(options: object, count: number) {
  const settings = parseOptions(GrpoSchema, options)
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
      lossType: lossType[0] ?? 'dapo',
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
