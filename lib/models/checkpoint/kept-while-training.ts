/** What it costs to train beside weights that stay quantised, as measured: a rule, so that runs on like machines are alike. */
import type { FloatDType } from '../../native.js'
import type { StorageFormat } from '../../tensor/weight.js'

type QuantisedFormat = Exclude<StorageFormat, FloatDType>

/**
 * Tokens whose products in bfloat16 take as long as making the values of the weights for them does, on one core of a Zen 4: of
 * q4_0, q4_1, q8_0, q4_k, nf4 and mxfp4 by whole training steps of SmolLM2-135M (LoRA, 1 × 128 tokens), of the others by how
 * long making their values takes beside those. Where products take longer, as in float32, less is lost.
 */
const CPU: Readonly<Record<QuantisedFormat, number>> = {
  q4_0: 15,
  q4_1: 32,
  q5_0: 30,
  q5_1: 30,
  q8_0: 15,
  q2_k: 20,
  q3_k: 45,
  q4_k: 20,
  q5_k: 45,
  q6_k: 40,
  iq4_nl: 30,
  iq4_xs: 30,
  mxfp4: 30,
  tq1_0: 20,
  tq2_0: 15,
  nf4: 20,
  fp4: 30,
  'llm-int8': 65,
  // Where inputs are in the order of their importance; others take half as long.
  'gptq-4': 130,
  'gptq-8': 110,
  'awq-4': 65,
  'compressed-int4': 100,
  'compressed-int8': 30,
  'compressed-fp8': 70,
  fp8: 60,
}

/** The same of an H100, predicted; smaller GPUs compute less for each byte that they move, so that they lose less. */
const GPU = 230

/** By how much steps may be longer for weights that are kept by default. */
const MOST = 1.15

/**
 * How many times as long a pass of `tokens` tokens takes beside kept weights as beside floats; null of a format that is none of
 * quantised weights.
 */
export function slowdown(format: string, device: string, tokens: number): number | null {
  if (!Object.hasOwn(CPU, format)) return null
  return 1 + (device === 'cpu' ? CPU[format as QuantisedFormat] : GPU) / tokens
}

/** Whether weights in a format stay so by default where passes have `tokens` tokens. */
export function staysQuantised(format: string, device: string, tokens: number): boolean {
  const times = slowdown(format, device, tokens)
  return times !== null && times <= MOST
}
