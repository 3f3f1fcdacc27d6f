/** Collects the configuration of a run, as `run.yaml` and its checkpoints record it. */

import { createHash } from 'node:crypto'
import { packageVersion } from '../../common/package-info.js'
import type { Model } from '../../models/model.js'
import { elementsOf } from '../../native/addon.js'
import type { RunObjective } from '../../objectives/objective.js'
import { plainOptions, scheduleNames, scheduleOptions, type TrainSettings } from '../../options/index.js'
import type { Parameter } from '../../tensor/parameter.js'
import { functionHashes, type RunFunctions } from '../checkpoints/function-hashes.js'
import type { RunFacts } from '../checkpoints/run-facts.js'
import { headRate, type LearningRate, recordedAs } from '../learning-rate.js'
import type { TrainedPart } from './plan-model.js'
import type { TrainingData } from './training-data.js'

/** Options with their defaults, as recorded. */
type ResolvedOptions = Pick<TrainSettings, 'model'> & Readonly<Record<string, unknown>>

/** With a function as the learning rate, no schedule is recorded. */
const WITHOUT_SCHEDULE = Object.fromEntries(scheduleNames.map((name) => [name, undefined]))

export function withDefaults(
  options: TrainSettings,
  part: TrainedPart,
  data: TrainingData,
  { ownRate, trainsHead }: { ownRate: LearningRate | undefined; trainsHead: boolean },
): ResolvedOptions {
  const learningRate = options.learningRate ?? part.learningRate
  const rate = ownRate
    ? { ...WITHOUT_SCHEDULE, learningRate: recordedAs(ownRate) }
    : { ...scheduleOptions(options), learningRate }
  return {
    ...options,
    ...rate,
    ...(trainsHead && !ownRate && { headLearningRate: headRate(options, learningRate) }),
    maxLength: data.maxLength,
    shuffleBuffer: data.shuffleBuffer,
    maxSteps: data.totalSteps,
  }
}

export async function collectFacts(
  model: Model,
  options: ResolvedOptions,
  { resolved }: TrainedPart,
  parameters: readonly Parameter[],
  data: TrainingData,
  { tokenBudget, ranks }: Pick<RunFacts['machine'], 'tokenBudget' | 'ranks'>,
  { hashes }: Pick<RunObjective, 'hashes'>,
  functions: RunFunctions,
): Promise<RunFacts> {
  const { device, dtype } = model
  const { name, detail, threads } = device.facts()
  return {
    options: plainOptions({ ...options, ...resolved, ...data.sources, model: options.model ?? model.reference }),
    machine: { device: device.kind, processor: `${name} (${detail})`, threads, dtype, tokenBudget, ranks },
    versions: {
      'node-mora': packageVersion(),
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    },
    functions: functionHashes(functions),
    hashes: { model: modelHash(model), data: data.hash, evalData: data.evaluationHash, ...hashes },
    trainable: {
      tensors: parameters.length,
      parameters: parameters.reduce((sum, { shape }) => sum + elementsOf(shape), 0),
    },
  }
}

/** The identity of a checkpoint, or a hash of the configuration of a model made from random numbers (its seed is an option). */
function modelHash({ base, config }: Model): string {
  return base.identity()?.hash ?? createHash('sha256').update(JSON.stringify(config.json)).digest('hex')
}
