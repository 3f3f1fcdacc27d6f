/** What is said before a run whose memory may be too little. */
import { formatBytes } from '../common/bytes.js'
import { MoraError, reworded } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import type { Model } from '../models/index.js'
import { FitSchema, type TrainSettings } from '../options/index.js'
import { freeMemory } from '../tensor/memory-budget.js'
import { planModel } from '../train/setup/plan-model.js'
import { mostTokens, requireMemory, stepDemand } from '../train/setup/token-budget.js'
import { type Fit, type FitOptions, fit as needsOf } from './fit.js'

/** The part of free memory up to which a rough estimate is enough. */
const SURELY_ENOUGH = 0.5

/** Returns a sentence with the figures of `fit` if a run of a loaded model may need more memory than is free; else null. */
export async function memoryConcern(model: Model, options: TrainSettings): Promise<string | null> {
  return isSurelyEnough(model, options) ? null : countedConcern(model, options)
}

/** Adds the figures of `fit` to the refusal of a run that has too little memory; returns other errors as they are. */
export async function withFigures(error: unknown, model: Model | string, options: TrainSettings): Promise<unknown> {
  if (!(error instanceof MoraError) || error.code !== 'too-little-memory') return error
  const concern = await countedConcern(model, options)
  return concern ? reworded(error, (message) => `${message} ${concern}`) : error
}

/** Like `memoryConcern` for a model that is not loaded, without a rough estimate before. */
async function countedConcern(model: Model | string, options: TrainSettings): Promise<string | null> {
  const own = Object.entries(options).filter(([name]) => Object.hasOwn(FitSchema.shape, name))
  const { model: _, data: __, json: ___, config: ____, quiet: _____, ...rest } = Object.fromEntries(own)
  try {
    const said = await needsOf(model, { ...(rest as FitOptions), trial: false })
    return said.memory.peak <= said.memory.free ? null : sentenceOf(said)
  } catch (error) {
    if (error instanceof MoraError) return null
    throw error
  }
}

function isSurelyEnough(model: Model, options: TrainSettings): boolean {
  const { device, config } = model
  const enough = device.memory().inUse + SURELY_ENOUGH * freeMemory(device)
  try {
    const { cost } = planModel(model, options, () => {})
    const demand = cost ? stepDemand(cost, false, options) : undefined
    requireMemory(model, mostTokens(options, config.maxPositions, device, 1), enough, demand)
    return true
  } catch (error) {
    // The run itself refuses what is wrong with its options.
    if (error instanceof MoraError) return error.code !== 'too-little-memory'
    throw error
  }
}

function sentenceOf({ memory, advice, tokensPerStep }: Fit): string {
  const needs = `This run needs up to ${formatBytes(memory.peak)} for steps of ${tokensPerStep.toLocaleString('en-US')} tokens, and ${formatBytes(memory.free)} are free`
  const ways = advice.map(({ options, memory }) => {
    const changed = Object.entries(options).map(([name, value]) => optionName(name, value))
    return `${formatBytes(memory)} with ${changed.join(' ')}`
  })
  return ways.length === 0 ? `${needs}.` : `${needs}; it would need ${ways.join(', ')}.`
}
