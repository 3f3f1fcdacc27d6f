/** The files by which sentence-transformers makes embeddings of a model's states, beside its weights. */
import { join } from 'node:path'
import { isJsonObject, readJson } from '../../io/json.js'
import { staysInside } from '../../io/paths.js'
import type { Pooling, PoolingOfModel } from '../../nn/pooling.js'

const POOLING = '1_Pooling'
const MODULE = 'sentence_transformers.models'

/** Settings of a folder for embeddings. */
interface EmbeddingSettings extends Required<PoolingOfModel> {
  /** Names of prompts that texts begin with there. */
  readonly prompts: readonly string[]
}

/** The settings of a model without such files. */
export const noEmbeddingSettings: EmbeddingSettings = { pooling: null, unsupportedPooling: null, prompts: [] }

/** Reads how a folder pools, in the spellings of sentence-transformers up to 5 and from 6 on. */
export async function readEmbeddingSettings(folder: string): Promise<EmbeddingSettings> {
  const read = async (...path: string[]) => readJson(join(folder, ...path)).catch(() => null)
  const modules = modulesIn(await read('modules.json'))
  const pooling = modules?.find(({ kind }) => kind === 'Pooling')?.path ?? POOLING
  const [config, transformer, settings] = await Promise.all([
    staysInside(pooling) ? read(pooling, 'config.json') : null,
    read('sentence_bert_config.json'),
    read('config_sentence_transformers.json'),
  ])
  const prompts = isJsonObject(settings) && isJsonObject(settings.prompts) ? settings.prompts : {}
  const names = Object.keys(prompts).filter((name) => prompts[name])
  if (!modules && !isJsonObject(config)) return { ...noEmbeddingSettings, prompts: names }
  const found = isJsonObject(config) ? poolingIn(config) : 'it has no module Pooling'
  const other = modules?.find(({ kind }) => !['Transformer', 'Pooling', 'Normalize'].includes(kind))
  const why = (other && `it has the module ${other.kind}`) ?? whyOtherInput(transformer)
  const unsupportedPooling = why ?? (found === 'mean' || found === 'last' ? null : found)
  return { pooling: unsupportedPooling === null ? (found as Pooling) : null, unsupportedPooling, prompts: names }
}

function modulesIn(json: unknown): { kind: string; path: string }[] | null {
  if (!Array.isArray(json)) return null
  return json.filter(isJsonObject).map(({ type, path }) => ({
    kind: String(type).split('.').at(-1)!,
    path: String(path),
  }))
}

/** Returns the pooling of a module's configuration, or why it is not supported. */
function poolingIn(config: Readonly<Record<string, unknown>>): string {
  const { pooling_mode: named } = config
  const flags = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true)
  const modes = named === undefined ? flags : [named].flat().map(String)
  const [mode = 'mean', second] = modes.map((name) => name.replace(/^pooling_mode_|_tokens?$/g, ''))
  if (second === undefined && mode === 'mean') return 'mean'
  if (second === undefined && mode === 'lasttoken') return 'last'
  return `it pools by ${modes.join(' and ')}`
}

/** Returns why texts are not the model's inputs as they are; null if they are. */
function whyOtherInput(transformer: unknown): string | null {
  if (!isJsonObject(transformer)) return null
  const { do_lower_case: isLowered, modality_config: modalities, transformer_task: task } = transformer
  if (isLowered === true) return 'it makes texts lower-case (do_lower_case)'
  if (isJsonObject(modalities) && modalities.message)
    return 'it embeds texts as chats, by the chat template (modality_config)'
  if (task && task !== 'feature-extraction') return `it does not embed texts (transformer_task ${String(task)})`
  return null
}

/** Returns the files, by their paths in the folder: a transformer, pooling, and vectors of length 1. */
export function poolingFiles(
  pooling: Pooling,
  sizes: { hiddenSize: number; maxPositions: number },
): Map<string, object> {
  const modes = ['cls_token', 'max_tokens', 'mean_sqrt_len_tokens', 'weightedmean_tokens'].map((mode) => [
    `pooling_mode_${mode}`,
    false,
  ])
  const modules = [
    ['', 'Transformer'],
    [POOLING, 'Pooling'],
    ['2_Normalize', 'Normalize'],
  ]
  return new Map<string, object>([
    ['modules.json', modules.map(([path, type], idx) => ({ idx, name: String(idx), path, type: `${MODULE}.${type}` }))],
    ['sentence_bert_config.json', { max_seq_length: sizes.maxPositions, do_lower_case: false }],
    [
      `${POOLING}/config.json`,
      {
        word_embedding_dimension: sizes.hiddenSize,
        pooling_mode_mean_tokens: pooling === 'mean',
        pooling_mode_lasttoken: pooling === 'last',
        ...Object.fromEntries(modes),
        include_prompt: true,
      },
    ],
  ])
}
