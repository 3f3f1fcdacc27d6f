/** The files by which sentence-transformers pools a model's states, beside its weights. */
import { join } from 'node:path'
import { isJsonObject, readJsonObject } from '../../io/json.js'
import type { Pooling } from '../../nn/pooling.js'

const POOLING = '1_Pooling'
const MODULE = 'sentence_transformers.models'

/** Returns the pooling of a folder; null where it has none, or one that is not supported. */
export async function readPooling(folder: string): Promise<Pooling | null> {
  const json: unknown = await readJsonObject(join(folder, POOLING, 'config.json')).catch(() => null)
  if (!isJsonObject(json)) return null
  if (json.pooling_mode_lasttoken === true) return 'last'
  return json.pooling_mode_mean_tokens === true ? 'mean' : null
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
