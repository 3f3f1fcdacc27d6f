/** The tiny checkpoints of model families in the golden data, as transformers wrote and computed them in float64. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { describeGolden, goldenJson, goldenPath } from './files.js'

export interface FamilyExpected {
  readonly sequences: number[][]
  readonly logprobs: number[][]
}

/** Folders of the golden data by name: a few lie beside the tests, the others in MORA_TEST_ASSETS only. */
const folders: Readonly<Record<string, string>> = {
  'llama-yarn': 'families',
  mistral: 'families',
  smollm3: 'families',
  qwen2: 'families',
  qwen3: 'families',
  gemma: 'families',
  gemma2: 'families',
  gemma3: 'families',
  phi3: 'families',
  olmo2: 'families',
  olmo3: 'families',
  granite: 'families',
  gpt2: 'families',
  'gemma3-wrapped': 'families3',
  'gemma4-e2b-text': 'families2',
  'gemma4-e2b': 'families2',
  gemma4_unified: 'families4',
  ministral3: 'families2',
  'granitemoehybrid-dense': 'families2',
  lfm2: 'families2',
  'qwen3_5-text': 'families2',
  qwen3_5: 'families2',
}

export const familyNames = Object.keys(folders)

export const familyPath = (name: string): string => `${folders[name]}/${name}`

export const familyExpected = (name: string): FamilyExpected => goldenJson(`${familyPath(name)}/expected.json`)

export const familyFolder = (name: string): string => goldenPath(familyPath(name))

/**
 * Those whose configuration GGUF cannot say: Mistral's window has no place in `llama`; the wrapped Gemma 3 scales scores by
 * another number than its head size.
 */
export const lacksInGguf: ReadonlySet<string> = new Set(['mistral', 'gemma3-wrapped'])

/** Those whose results rounding changes more: random weights make sharp softmaxes of unscaled scores, and strong decay. */
export const sharp: ReadonlySet<string> = new Set([
  'gemma4-e2b-text',
  'gemma4-e2b',
  'gemma4_unified',
  'qwen3_5-text',
  'qwen3_5',
])

/** Calls `body` for each of these families; a missing one has one test, which is skipped. */
export const describeFamilies = (names: readonly string[], body: (name: string, folder: string) => void): void =>
  describeGolden('', names.map(familyPath), (path, folder) => body(basename(path), folder))

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
