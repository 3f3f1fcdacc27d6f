/** Quantised checkpoints of the golden data with something changed in them. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { goldenPath, lacksGolden } from '../../golden/files.js'
import { type RawTensor, readRawTensors, writeRawTensors } from '../../golden/tensor-files.js'
import type { Lack } from '../../needs.js'
import { smallTokenizerFolder } from '../../text/tokenizer/small-tokenizer.js'

/** A few are in the repository, the others in MORA_TEST_ASSETS only, where `mxfp4` has experts, which are refused by name. */
export const quantisedSets = [
  'awq-g128',
  'awq-g32',
  'bnb-fp4',
  'bnb-fp4-double',
  'bnb-int8',
  'bnb-nf4',
  'bnb-nf4-double',
  'bnb-nf4-skip',
  'ct-fp8-channel',
  'ct-int4-g128-sym',
  'ct-int4-g32-act',
  'ct-int4-g32-asym',
  'ct-int8-channel',
  'fp8-block',
  'fp8-block-partial',
  'gptq-4-column-sym-v2',
  'gptq-4-g128-asym-act-v2',
  'gptq-4-g128-sym',
  'gptq-4-g32-asym',
  'gptq-4-g32-asym-zero',
  'gptq-4-g32-sym-act',
  'gptq-8-column-asym',
  'gptq-8-g128-asym-v2',
  'gptq-8-g32-sym-act',
]

export const setPath = (set: string): string => goldenPath(`quantised/${set}`)
export const lacksSet = (set: string): Lack => lacksGolden(`quantised/${set}`)

export interface Change {
  /** Replaced entries of `quantization_config`. */
  settings?: object
  /** Changes the tensors in place. */
  tensors?: (tensors: Map<string, RawTensor>) => void
}

/** Writes a changed copy of a set into `folder` and returns `folder`. */
export function changedSet(folder: string, set: string, { settings, tensors: change }: Change): string {
  const from = setPath(set)
  mkdirSync(folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8'))
  config.quantization_config = { ...config.quantization_config, ...settings }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const tensors = readRawTensors(join(from, 'model.safetensors'))
  change?.(tensors)
  writeRawTensors(join(folder, 'model.safetensors'), tensors)
  return folder
}

/**
 * A copy of a set that can generate text: with the tests' tokenizer, and tokens after the set's own that are never generated.
 */
export function talkingSet(folder: string, set: string): string {
  const vocabulary = 512
  cpSync(setPath(set), folder, { recursive: true })
  cpSync(smallTokenizerFolder, folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, vocab_size: vocabulary }))
  const tensors = readRawTensors(join(folder, 'model.safetensors'))
  for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) {
    const { dtype, shape, bytes } = tensors.get(name)!
    const padded = new Uint8Array((bytes.length / shape[0]!) * vocabulary)
    padded.set(bytes)
    tensors.set(name, { dtype, shape: [vocabulary, shape[1]!], bytes: padded })
  }
  writeRawTensors(join(folder, 'model.safetensors'), tensors)
  return folder
}

export const layer = 'model.layers.0.self_attn.q_proj'
export const without = (suffix: string): Change => ({ tensors: (tensors) => tensors.delete(`${layer}.${suffix}`) })
/** Replaces bytes at the end of a tensor. */
export const spoilt = (suffix: string, ...bytes: number[]): Change => ({
  tensors(tensors) {
    const { bytes: all } = tensors.get(`${layer}.${suffix}`)!
    all.set(bytes, all.length - bytes.length)
  },
})
export const reshaped = (suffix: string, shape: number[], dtype?: string): Change => ({
  tensors(tensors) {
    const tensor = tensors.get(`${layer}.${suffix}`)!
    const values = (sizes: number[]) => sizes.reduce((product, size) => product * size, 1)
    const size = tensor.bytes.length / values(tensor.shape)
    const bytes = new Uint8Array(values(shape) * size)
    bytes.set(tensor.bytes.subarray(0, bytes.length))
    tensors.set(`${layer}.${suffix}`, { dtype: dtype ?? tensor.dtype, shape, bytes })
  },
})
export const stateOf = (suffix: string, entries: object): Change => ({
  tensors(tensors) {
    const tensor = tensors.get(`${layer}.${suffix}`)!
    const state = JSON.parse(Buffer.from(tensor.bytes).toString()) as object
    const bytes = Buffer.from(JSON.stringify({ ...state, ...entries }))
    tensors.set(`${layer}.${suffix}`, { dtype: 'U8', shape: [bytes.length], bytes })
  },
})
export const nan = [0, 0, 0xc0, 0x7f]
