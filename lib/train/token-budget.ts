import { UsageError } from '../errors.js'
import { logitsBytes } from '../tensor/operations/loss.js'
import type { TrainableModel } from './trainable.js'

/** More tokens in one forward pass than this make nothing faster. */
const MOST = { cpu: 2048, gpu: 16384 }
const LEAST = 256
/** Share of the device's memory that activations may take where nothing else is said. */
const SHARE = 0.25
/** Bytes of a process on the CPU beside its tensors: Node.js, libraries, their working space. */
const PROCESS = 224 * 2 ** 20
/** Logits and their gradient, which may be half as wide. */
const LOGITS_AND_GRADIENT = 1.5

/**
 * How many tokens a forward pass may have. A function of the model, the device and `memory` [bytes] alone, so that runs on
 * like machines cut their steps in the same way; without `memory` a power of two. Throws where `memory` is too little.
 */
export function tokenBudget(model: TrainableModel, memory?: number): number {
  const { device } = model
  const perToken = activationBytes(model)
  const most = device.kind === 'cpu' ? MOST.cpu : MOST.gpu
  if (memory === undefined) {
    const fits = (SHARE * device.facts().totalMemory) / perToken
    return Math.min(most, Math.max(LEAST, 2 ** Math.floor(Math.log2(fits))))
  }
  const process = device.kind === 'cpu' ? PROCESS : 0
  const free = memory - process - fixedBytes(model)
  // Logits of few tokens are fewer than a device has room for at one time.
  const { perToken: logitsPerToken, most: mostLogits } = logits(model)
  const withFew = Math.min(free / (perToken + logitsPerToken), mostLogits / logitsPerToken)
  const fits = Math.floor(Math.max(withFew, (free - mostLogits) / perToken))
  if (fits >= LEAST) return Math.min(most, fits)
  const tensors = fixedBytes(model) + LEAST * perToken + Math.min(mostLogits, LEAST * logitsPerToken)
  const parts = process === 0 ? '' : ` (${mebibytes(tensors)} for tensors, the rest for Node.js and libraries)`
  throw new UsageError(
    'too-little-memory',
    `The option memory is ${mebibytes(memory)}, but this model needs about ${mebibytes(tensors + process)} for ${LEAST} tokens at a time${parts}: give it more${
      model.gradientCheckpointing ? '' : ', or use gradientCheckpointing'
    }.`,
  )
}

/** Bytes that a token adds to a forward pass and its backward pass. */
function activationBytes({ config, dtype, gradientCheckpointing }: TrainableModel): number {
  const { layers, hiddenSize, intermediateSize } = config
  // Kept for the backward pass: of attention about 6 rows of the hidden size, of the MLP 2 of the intermediate; and once
  // more as much for the block at work.
  const block = 6 * hiddenSize + 2 * intermediateSize
  const kept = gradientCheckpointing ? layers * hiddenSize + block : layers * block
  return (dtype === 'float32' ? 4 : 2) * (kept + block)
}

/** Bytes of tensors whatever the number of tokens: weights; gradients and two moments of what is trained. */
function fixedBytes(model: TrainableModel): number {
  const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + elementsOf(parameter.shape), 0)
  return model.device.memory().inUse + 3 * 4 * trained
}

/** Bytes of a token's logits with their gradient, and of the most that exist at one time. */
function logits({ device, config: { vocabularySize } }: TrainableModel): { perToken: number; most: number } {
  const most = LOGITS_AND_GRADIENT * logitsBytes(device, vocabularySize)
  return { perToken: LOGITS_AND_GRADIENT * 4 * vocabularySize, most }
}

const elementsOf = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1)

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`
