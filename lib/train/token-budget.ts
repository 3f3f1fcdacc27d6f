import type { TrainableModel } from './trainable.js'

/** More tokens in one forward pass than this make nothing faster. */
const MOST = { cpu: 4096, gpu: 16384 }
const LEAST = 256
/** Share of the device's memory that activations may take. */
const SHARE = 0.25

/**
 * How many tokens a forward pass may have. A function of the model and the device alone, and a power of two, so that runs
 * on like machines cut their steps in the same way.
 */
export function tokenBudget({ config, dtype, device, gradientCheckpointing }: TrainableModel): number {
  const { layers, hiddenSize, intermediateSize } = config
  const bytes = dtype === 'float32' ? 4 : 2
  // Saved for the backward pass: of attention about 10 rows of the hidden size, of the MLP about 4 of the intermediate.
  const perLayer = 10 * hiddenSize + 4 * intermediateSize
  const perToken = bytes * (gradientCheckpointing ? layers * hiddenSize + perLayer : layers * perLayer)
  const fits = (SHARE * device.facts().totalMemory) / perToken
  const most = device.kind === 'cpu' ? MOST.cpu : MOST.gpu
  return Math.min(most, Math.max(LEAST, 2 ** Math.floor(Math.log2(fits))))
}
