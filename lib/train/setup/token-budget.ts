import { type AdapterCost, costOfValues } from '../../adapters/planning/adapter-cost.js'
import { formatBytes } from '../../common/bytes.js'
import { UsageError } from '../../common/errors.js'
import { optionName, TheOption, theOption } from '../../common/option-names.js'
import type { Model } from '../../models/model.js'
import { bytesPerValue, elementsOf } from '../../native/addon.js'
import { maxLengthOf, type TrainSettings } from '../../options/index.js'
import { freeMemory, type MemoryDevice, memoryOf, PROCESS_BYTES } from '../../tensor/memory-budget.js'
import { logitsBytes } from '../../tensor/operations/loss.js'

/** Maximum tokens in one forward pass: more are no faster. */
const MOST = { cpu: 2048, gpu: 16384 }
const LEAST = 256
/** Default share of the device's memory for activations. */
const SHARE = 0.25
/** Logits and their gradient, which may be half as wide. */
const LOGITS_AND_GRADIENT = 1.5

/** Returns the maximum number of tokens in a forward pass with rows of maximum length, whatever the memory. */
export function mostTokens(
  { microBatchSize, batchSize, maxLength }: Pick<TrainSettings, 'microBatchSize' | 'batchSize' | 'maxLength'>,
  maxPositions: number,
  device: Pick<MemoryDevice, 'kind'>,
  ranks: number,
): number {
  const rows = microBatchSize ?? Math.ceil(batchSize / ranks)
  const tokens = rows * maxLengthOf(maxLength, maxPositions)
  return microBatchSize === undefined ? Math.min(tokens, device.kind === 'cpu' ? MOST.cpu : MOST.gpu) : tokens
}

/** Memory that steps need on the device in addition to what is in use, whatever the number of tokens. */
interface StepDemand {
  /** Number of trained values: each has a gradient and two moments, and may have an average. */
  readonly trained: number
  readonly bytes: number
}

/** Returns the memory that steps need for trained values, before these are created or afterwards. */
export function stepDemand(
  { trained, values, kept, working }: AdapterCost,
  isMade: boolean,
  { emaDecay }: Partial<Pick<TrainSettings, 'emaDecay'>> = {},
): StepDemand {
  const ofEach = emaDecay === undefined ? 3 : 4
  return { trained, bytes: (isMade ? 0 : values) + kept + working + ofEach * 4 * trained }
}

/**
 * Returns the maximum number of tokens in a forward pass. It depends only on the model, the trained values, the device, the
 * ranks `sharing` a machine, and `memory` [bytes], so that runs on like machines split their steps alike; without `memory` it
 * is a power of two.
 * @throws UsageError as `requireMemory`, if even the fewest tokens do not fit
 */
export function tokenBudget(model: Model, memory?: number, demand = demandOfParameters(model), sharing = 1): number {
  requireMemory(model, LEAST, memory, demand, sharing)
  const { device } = model
  const totalMemory = shareOf(device, sharing)
  const most = device.kind === 'cpu' ? MOST.cpu : MOST.gpu
  const available = Math.min(memory ?? totalMemory, totalMemory) - processBytes(model) - fixedBytes(model, demand)
  // Few tokens have fewer logits than the device keeps at one time.
  const perToken = activationBytes(model)
  const logits = logitsOf(model)
  const withFew = Math.min(available / (perToken + logits.perToken), logits.most / logits.perToken)
  const fits = Math.max(LEAST, Math.floor(Math.max(withFew, (available - logits.most) / perToken)))
  if (memory !== undefined) return Math.min(most, fits)
  const share = Math.max(LEAST, (SHARE * totalMemory) / perToken)
  return Math.min(most, 2 ** Math.floor(Math.log2(Math.min(fits, share))))
}

/**
 * Rejects forward passes of `tokens` tokens that do not fit `memory`, the device's memory, or its free part.
 * @throws UsageError `too-little-memory` with the figures
 */
export function requireMemory(
  model: Model,
  tokens: number,
  memory = Number.POSITIVE_INFINITY,
  demand = demandOfParameters(model),
  sharing = 1,
): void {
  const { device } = model
  const { perToken, most } = logitsOf(model)
  const ofTokens = tokens * activationBytes(model) + Math.min(most, tokens * perToken)
  const tensors = fixedBytes(model, demand) + ofTokens
  const all = tensors + processBytes(model)
  const free = freeMemory(device)
  const isFree = tensors - device.memory().inUse <= free
  const totalMemory = shareOf(device, sharing)
  if (all <= Math.min(memory, totalMemory) && isFree) return

  const isLimited = memory < Math.min(all, totalMemory)
  const among = sharing > 1 ? ` for ${sharing} ranks` : ''
  const available = isLimited
    ? `${TheOption('memory')} is ${formatBytes(memory)}`
    : capitalised(memoryOf(device)) + among
  const rest = isLimited || all > totalMemory ? '' : `, with ${formatBytes(free)} free`
  const trains = demand.bytes > tensors / 4
  const parts = [
    `${formatBytes(tensors)} for tensors`,
    trains ? `of which ${formatBytes(demand.bytes)} for ${demand.trained.toLocaleString('en-US')} trained values` : '',
    all > tensors ? 'the rest for Node.js and libraries' : '',
  ]
  const remedies = [
    'give it more',
    trains ? `train fewer values (a lower rank, fewer ${optionName('targetModules')})` : '',
    tokens > LEAST
      ? `take fewer tokens at a time (${theOption('memory')}, ${optionName('microBatchSize')}, ${optionName('maxLength')})`
      : '',
    model.gradientCheckpointing ? '' : `use ${optionName('gradientCheckpointing')}`,
  ]
  throw new UsageError(
    'too-little-memory',
    `${available}${rest}, but this model needs about ${formatBytes(all)} for ${tokens} tokens at a time (${listed(parts)}): ` +
      `${listed(remedies, ', or ')}.`,
  )
}

/** Returns the bytes of a machine's memory for each of its ranks. A GPU belongs to one rank. */
function shareOf(device: MemoryDevice, sharing: number): number {
  return device.facts().totalMemory / (device.kind === 'cpu' ? sharing : 1)
}

/** Returns the bytes that a token adds to a forward pass and its backward pass. */
function activationBytes({ config, dtype, gradientCheckpointing }: Model): number {
  const { layers, hiddenSize, intermediateSize } = config
  // Kept for the backward pass: in attention about 6 rows of the hidden size, in the MLP 2 of the intermediate size; and
  // as much again for the current block.
  const block = 6 * hiddenSize + 2 * intermediateSize
  const kept = gradientCheckpointing ? layers * hiddenSize + block : layers * block
  return bytesPerValue(dtype) * (kept + block)
}

/** Returns the bytes of tensors that do not depend on the number of tokens. */
function fixedBytes({ device }: Model, demand: StepDemand): number {
  return device.memory().inUse + demand.bytes
}

/** Returns the bytes of device memory that the process itself takes. */
function processBytes({ device }: Model): number {
  return device.kind === 'cpu' ? PROCESS_BYTES : 0
}

function demandOfParameters(model: Model): StepDemand {
  const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + elementsOf(parameter.shape), 0)
  return stepDemand(costOfValues(trained, model.dtype), true)
}

/** Returns the bytes of a token's logits with their gradient, and the maximum that exists at one time. */
function logitsOf({ device, config: { vocabularySize } }: Model): { perToken: number; most: number } {
  const most = LOGITS_AND_GRADIENT * logitsBytes(device, vocabularySize)
  return { perToken: LOGITS_AND_GRADIENT * 4 * vocabularySize, most }
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** Joins the parts that are not empty, with `last` before the last one. */
function listed(parts: readonly string[], last = ', '): string {
  const present = parts.filter((part) => part !== '')
  return present.length < 2 ? present.join('') : `${present.slice(0, -1).join(', ')}${last}${present.at(-1)}`
}
