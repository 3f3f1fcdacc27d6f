/** What it costs to compute with weights that stay quantised, as measured: a rule, so that runs on like machines are alike. */
import type { BlockDType } from '../../native/addon.js'
import type { ComputingCost } from '../read/formats/format.js'
import { costsOfCodes } from '../read/formats/index.js'
import type { QuantisedForm } from '../read/stored-weight.js'

/**
 * Of GGUF's blocks. These costs and those of codes (`read/formats`) were measured on cores of a Zen 4, whose products wait less for
 * memory than those of more cores. For training: nf4 by whole steps of SmolLM2-135M (LoRA, 1 × 128 tokens, one core), blocks by how
 * long making their values takes and a little more than such steps, which took 0.94–1.02 times as long, all else by the products of
 * 128 tokens alone, forward and back; where products take longer, as in float32, less is lost. For decoding: on two cores, with
 * weights that no cache holds.
 */
const BLOCKS: Readonly<Record<BlockDType, ComputingCost>> = {
  q4_0: { training: 10, decoding: 0.5 },
  q4_1: { training: 10, decoding: 0.5 },
  q5_0: { training: 15, decoding: 0.6 },
  q5_1: { training: 15, decoding: 0.6 },
  q8_0: { training: 10, decoding: 0.7 },
  q2_k: { training: 15, decoding: 0.6 },
  q3_k: { training: 15, decoding: 0.6 },
  q4_k: { training: 10, decoding: 0.6 },
  q5_k: { training: 15, decoding: 0.8 },
  q6_k: { training: 15, decoding: 0.9 },
  iq4_nl: { training: 10, decoding: 0.7 },
  iq4_xs: { training: 10, decoding: 0.6 },
  mxfp4: { training: 10, decoding: 1.1 },
  tq1_0: { training: 15, decoding: 0.6 },
  tq2_0: { training: 10, decoding: 0.5 },
}

const CPU: Readonly<Record<string, ComputingCost>> = { ...BLOCKS, ...costsOfCodes }

/** Of any of these formats where inputs are ordered: the scale of each is looked up. */
const ORDERED: ComputingCost = { training: 90, decoding: 7.5 }

/** `ComputingCost.training` of any format on an H100, predicted; smaller GPUs compute less for each byte that they move, so that they lose less. */
const GPU = 230

/** By how much steps may be longer for weights that are kept by default. */
const MOST = 1.15

function costOf({ format, ordered }: QuantisedForm): ComputingCost | null {
  if (!Object.hasOwn(CPU, format)) return null
  return ordered ? ORDERED : CPU[format]!
}

/**
 * How many times as long a pass of so many tokens takes beside kept weights as beside floats; null of a format that is none of
 * quantised weights.
 */
export function slowdown(form: QuantisedForm, device: string, tokens: number): number | null {
  const cost = costOf(form)
  return cost && 1 + (device === 'cpu' ? cost.training : GPU) / tokens
}

/** Whether weights stay quantised by default where passes that train have so many tokens. */
export function trainsAsFast(form: QuantisedForm, device: string, tokens: number): boolean {
  const times = slowdown(form, device, tokens)
  return times !== null && times <= MOST
}

/** Whether weights stay quantised by default where tokens are made one after the other. On GPUs that was not measured. */
export function decodesAsFast(form: QuantisedForm, device: string): boolean {
  const cost = costOf(form)
  return cost !== null && device === 'cpu' && cost.decoding <= 1
}
