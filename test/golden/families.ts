/** The tiny checkpoints of model families in the golden data, as transformers wrote and computed them in float64. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { goldenJson, goldenPath } from './files.js'

export interface FamilyExpected {
  readonly sequences: number[][]
  readonly logprobs: number[][]
}

/** A few lie beside the tests, the others in MORA_TEST_ASSETS only. */
export const familyNames = [
  'llama-yarn',
  'mistral',
  'smollm3',
  'qwen2',
  'qwen3',
  'gemma',
  'gemma2',
  'gemma3',
  'phi3',
  'olmo2',
  'olmo3',
  'granite',
  'gpt2',
]

export const familyPath = (name: string): string => `families/${name}`

export const familyExpected = (name: string): FamilyExpected => goldenJson(`${familyPath(name)}/expected.json`)

export const familyFolder = (name: string): string => goldenPath(familyPath(name))

export function loadFamily(folder: string, dtype: FloatDType = 'float32'): Promise<Model> {
  return loadModel(folder, { device: process.env.MORA_TEST_DEVICE ?? 'cpu', dtype, threads: 2 })
}

/** The names of a checkpoint's tensors with dtypes and shapes. */
export function layoutOf(folder: string): Record<string, { dtype: string; shape: number[] }> {
  const file = readFileSync(join(folder, 'model.safetensors'))
  const header = JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE(0)))) as Record<
    string,
    { dtype: string; shape: number[] }
  >
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return Object.fromEntries(tensors.map(([name, { dtype, shape }]) => [name, { dtype, shape }]))
}
