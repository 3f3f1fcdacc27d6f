/** Rules for what a job leaves to be chosen, which docs/jobs.md states. */
import type { AdapterConfigBase } from '../adapters/contract/adapter.js'
import { newAdapterConfig } from '../adapters/new-adapter.js'
import { adapterMethod } from '../adapters/registry.js'
import type { Model } from '../models/index.js'
import { newAdapterOptions, type TrainSettings } from '../options/index.js'

/** Three epochs; more for few rows, so that about 100 examples are trained, and fewer for many. */
export function automaticEpochs(rows: number): number {
  if (3 * rows < 100) return Math.min(25, Math.floor(100 / rows))
  if (3 * rows > 25_000) return Math.max(1, Math.floor(25_000 / rows))
  return 3
}

/** The greatest power of two of at most a 64th of the rows, from 1 to 32. */
export function automaticBatchSize(rows: number): number {
  return Math.min(32, 2 ** Math.max(0, Math.floor(Math.log2(rows / 64))))
}

/** For prompts with several answers each: the greatest power of two of at most an eighth of the rows, from 1 to 8. */
export function automaticPrompts(rows: number): number {
  return Math.min(8, 2 ** Math.max(0, Math.floor(Math.log2(rows / 8))))
}

/** Returns the configuration of the adapter that a job trains. */
export function adapterOfJob(options: TrainSettings): AdapterConfigBase {
  const { method, ...described } = newAdapterOptions(options)
  if (method === 'full') throw new Error('Jobs train adapters.')
  return newAdapterConfig(method, { ...described, method })
}

/** Rate of LoRA in its paper's successors, by which rates of methods are known here. */
const LORA_RATE = 2e-4
/** Widths below this have no known law. */
const LEAST_WIDTH = 1024

/**
 * The learning rate at the multiplier 1: the method's own, times what "LoRA Without Regret" (Schulman et al., 2025) and Tinker's
 * `get_lr` find for LoRA at the model's width, 5 · 10⁻⁴ · (2000 / width)^p, over the 2 · 10⁻⁴ of others; p is 0.0775 for Qwen and
 * 0.781 for Llama, whose law holds here for all others.
 */
export function automaticRate({ config }: Pick<Model, 'config'>, options: TrainSettings): number {
  const adapter = adapterOfJob(options)
  const own = adapterMethod(adapter.method).learningRate(adapter)
  const exponent = config.architecture.startsWith('qwen') ? 0.0775 : 0.781
  const ofWidth = 5e-4 * (2000 / Math.max(LEAST_WIDTH, config.hiddenSize)) ** exponent
  return own * (ofWidth / LORA_RATE)
}
