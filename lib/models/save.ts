import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { RunError } from '../errors.js'
import { replaceFolder, writeFileAtomic } from '../io/atomic.js'
import { type SafetensorsEntry, writeShardedSafetensors } from '../io/safetensors.js'
import type { FloatDType } from '../native.js'
import { Parameter } from '../tensor/parameter.js'
import { keep, scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { llamaWeightNames } from './llama.js'
import type { Model } from './model.js'

/**
 * Writes a model in Hugging Face's layout, tensor by tensor. Weights are read again from their file in float32, merged
 * adapters are added, and the sum is rounded once. The folder appears as a whole or not at all.
 */
export async function saveModel(model: Model, folder: string, { dtype }: { dtype?: FloatDType }): Promise<void> {
  const stored = model.source?.storedDType() ?? 'float32'
  const kind = dtype ?? (stored === 'float32' || stored === 'float16' || stored === 'bfloat16' ? stored : 'bfloat16')
  const names = llamaWeightNames(model.config)
  const entries = names.map(
    (name): SafetensorsEntry => ({
      name,
      dtype: kind,
      shape: shapeOf(model, name),
      data: () => bytesOf(model, name, kind),
    }),
  )
  await replaceFolder(folder, async (temporary) => {
    await writeShardedSafetensors(temporary, entries)
    const json = { ...model.config.json, torch_dtype: kind }
    await writeFileAtomic(join(temporary, 'config.json'), `${JSON.stringify(json, null, 2)}\n`)
    for (const [name, content] of await companions(model)) await writeFileAtomic(join(temporary, name), content)
  })
}

function weightOf(model: Model, name: string): Tensor {
  const [, index, path = name, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? []
  if (index === undefined) {
    const outer: Record<string, Tensor | null> = {
      'model.embed_tokens.weight': model.embeddings,
      'model.norm.weight': model.finalNorm,
      'lm_head.weight': model.untiedHead,
    }
    return outer[name]!
  }
  const block = model.blocks[Number(index)]!
  if (path === 'input_layernorm') return block.attentionNorm
  if (path === 'post_attention_layernorm') return block.mlpNorm
  const linear = block.linears().find((candidate) => candidate.name.endsWith(`.${path}`))!
  return kind === 'bias' ? linear.bias! : linear.weight
}

const shapeOf = (model: Model, name: string): readonly number[] => weightOf(model, name).shape

async function bytesOf(model: Model, name: string, dtype: FloatDType): Promise<Uint8Array> {
  const { device, source } = model
  const nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  const rounded = scope(() => {
    const weight = weightOf(model, name)
    const values = Tensor.empty(weight.shape, { device })
    if (source && !(weight instanceof Parameter)) {
      source.loadInto(name, values)
      const linear = model.linears().find((candidate) => `${candidate.name}.weight` === name)
      for (const { layer, scale } of linear ? model.adapterSet.mergedLayers(linear) : [])
        layer.mergeInto(values, scale, nonFinite)
    } else {
      values.copyFrom(weight)
    }
    const result = Tensor.empty(weight.shape, { device, dtype })
    result.copyFrom(values)
    return result
  })
  const bits = await rounded.bits()
  rounded.dispose()
  const bad = await nonFinite.item()
  nonFinite.dispose()
  if (bad > 0) throw new RunError('non-finite', `${bad} values of ${name} are not finite; the model is not saved.`)
  return new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength)
}

/** Tokenizer files, and the generation configuration: copied from a folder, else made from what is known. */
async function companions(model: Model): Promise<Map<string, string | Uint8Array>> {
  const files = new Map<string, string | Uint8Array>(model.tokenizer?.files() ?? [])
  if (model.source?.format === 'folder') {
    const kept =
      /^(tokenizer.*|special_tokens_map\.json|vocab\.(json|txt)|merges\.txt|added_tokens\.json|chat_template.*|generation_config\.json)$/
    for (const name of await readdir(model.path)) {
      if (kept.test(basename(name))) files.set(name, await readFile(join(model.path, name)))
    }
  }
  if (!files.has('generation_config.json')) {
    const { bos_token_id, eos_token_id, pad_token_id } = model.config.json
    const ids = { bos_token_id, eos_token_id, pad_token_id }
    files.set('generation_config.json', `${JSON.stringify({ _from_model_config: true, ...ids }, null, 2)}\n`)
  }
  return files
}
