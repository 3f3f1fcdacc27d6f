/**
 * A model of one block and 11 tokens with random weights: a step takes a few milliseconds. It records the passes of the run that
 * trains it, and changes gradients on request.
 */
import { afterEach, vi } from 'vitest'
import type { Batch } from '../../lib/batches/batch.js'
import { parseConfig } from '../../lib/models/families/parse-config.js'
import { randomWeights } from '../../lib/models/load/weights.js'
import { Model } from '../../lib/models/model.js'
import type { SummedLoss } from '../../lib/models/network/model-output.js'
import type { NativeDevice } from '../../lib/native/addon.js'
import { openDevice } from '../../lib/tensor/device.js'
import type { Parameter } from '../../lib/tensor/parameter.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'

export const VOCABULARY = 11

const json = {
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  initializer_range: 0.5,
}

export interface TinyOptions {
  /** Changes the gradient that a backward pass adds to a trained tensor. */
  disturb?: ((gradient: Float32Array, step: number, name: string) => void) | undefined
  /** Called after the loss of each of a run's passes, with their number so far. */
  onPass?: ((passes: number) => void) | undefined
  layers?: number | undefined
  threads?: number | undefined
  /** Facts about the machine that differ from the true ones. */
  machine?: Partial<ReturnType<NativeDevice['facts']>> | undefined
  tokenizer?: Tokenizer | undefined
}

const made = new Set<Model>()

afterEach(() => {
  for (const model of made) model.dispose()
  made.clear()
})

export class TinyModel extends Model {
  /** The batches of a run's passes, without the trial before its first step, and the steps that key their dropout. */
  readonly seen: { batch: Batch; step: number | null }[] = []
  /** The key of the run's dropout. */
  dropoutKey: { seed: number; step: number } | null = null
  readonly #options: TinyOptions

  constructor(options: TinyOptions = {}) {
    const { layers = 1, threads = 1, machine, tokenizer = null } = options
    const config = parseConfig({ ...json, num_hidden_layers: layers }, 'config.json')
    const device = openDevice({ device: 'cpu', threads })
    super({ tokenizer, weights: randomWeights(config, 5, 'float32', device), source: null })
    if (machine) vi.spyOn(device, 'facts').mockReturnValue({ ...device.facts(), ...machine })
    this.#options = options
    made.add(this)
  }

  /** The trained tensors. */
  get parameters(): Parameter[] {
    return this.trainableParameters().map(({ parameter }) => parameter)
  }

  /** Returns the values of the trained tensors. */
  values(): Float32Array[] {
    return this.parameters.map((parameter) => parameter.dataAtOnce()!)
  }

  /** Returns the values of all weights, which merges change. */
  weights(): Float32Array[] {
    return this.slots.map(({ own }) => own.floats!.dataAtOnce()!)
  }

  override holdForTraining() {
    const held = super.holdForTraining()
    const { passes } = held
    const { disturb, onPass } = this.#options
    const [setDropout, lossAsync] = [passes.setDropout.bind(passes), passes.lossAsync.bind(passes)]
    passes.setDropout = (key) => {
      this.dropoutKey = key
      setDropout(key)
    }
    passes.lossAsync = async (batch, options) => {
      const step = this.dropoutKey?.step ?? null
      const summed = await lossAsync(batch, options)
      this.seen.push({ batch, step })
      onPass?.(this.seen.length)
      if (disturb) disturbBackward(summed, this.parameters, (gradient, name) => disturb(gradient, step ?? 0, name))
      return summed
    }
    return held
  }
}

/** Changes the gradients that one backward pass adds, once it is over. */
function disturbBackward(
  { loss }: SummedLoss,
  parameters: readonly Parameter[],
  disturb: (gradient: Float32Array, name: string) => void,
): void {
  const backward = loss.backward.bind(loss)
  loss.backward = async ({ onGradient } = {}) => {
    const before = await Promise.all(parameters.map(({ grad }) => grad?.data()))
    const reached = new Set<object>()
    await backward({ onGradient: (parameter) => void reached.add(parameter) })
    for (const [i, parameter] of parameters.entries()) {
      if (!reached.has(parameter)) continue
      const sum = await parameter.grad!.data()
      const sumBefore = before[i]
      const own = sumBefore ? sum.map((value, at) => value - sumBefore[at]!) : sum
      disturb(own, parameter.name)
      parameter.grad!.assign(sumBefore ? own.map((value, at) => value + sumBefore[at]!) : own)
      onGradient?.(parameter)
    }
  }
}
