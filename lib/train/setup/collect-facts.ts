/** Collects the configuration of a run, as `run.yaml` and its checkpoints record it. */

import { createHash } from 'node:crypto'
import { ROWS_VERSION } from '../../batches/examples/token-store.js'
import { packageVersion } from '../../common/package-info.js'
import type { Model } from '../../models/model.js'
import { elementsOf } from '../../native/addon.js'
import { plainOptions, scheduleNames, scheduleOptions } from '../../options/index.js'
import type { Parameter } from '../../tensor/parameter.js'
import { functionHashes } from '../checkpoints/function-hashes.js'
import { headRate, recordedAs } from '../learning-rate.js'
import type { RunRows } from '../rows.js'
import type { RunFacts } from '../run-facts.js'
import type { TrainedPart } from './plan-model.js'
import type { PlannedRun } from './plan-run.js'

/** With a function as the learning rate, no schedule is recorded. */
const WITHOUT_SCHEDULE = Object.fromEntries(scheduleNames.map((name) => [name, undefined]))

/** @param tokenBudget of the steps */
export async function collectFacts(
  { model, options, objective, functions, sync, learningRate: ownRate }: PlannedRun,
  rows: RunRows,
  part: TrainedPart,
  parameters: readonly Parameter[],
  tokenBudget: number,
): Promise<RunFacts> {
  const { device, dtype } = model
  const { name, detail, threads } = device.facts()
  const learningRate = options.learningRate ?? part.learningRate
  const trainsHead = objective.labels !== undefined
  const rate = ownRate
    ? { ...WITHOUT_SCHEDULE, learningRate: recordedAs(ownRate) }
    : {
        ...scheduleOptions(options),
        learningRate,
        ...(trainsHead && { headLearningRate: headRate(options, learningRate) }),
      }
  const resolved = {
    ...options,
    ...rate,
    maxLength: rows.maxLength,
    shuffleBuffer: rows.shuffleBuffer,
    maxSteps: rows.steps.totalSteps,
    ...part.resolved,
    ...rows.sources,
    model: options.model ?? model.reference,
  }
  return {
    options: plainOptions(resolved),
    machine: {
      device: device.kind,
      processor: `${name} (${detail})`,
      threads,
      dtype,
      tokenBudget,
      ranks: sync.ranks.size,
    },
    versions: {
      'node-mora': packageVersion(),
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
      rows: ROWS_VERSION,
    },
    functions: functionHashes(functions),
    hashes: { model: modelHash(model), data: rows.hash, evalData: rows.evaluation?.hash ?? null, ...objective.hashes },
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
