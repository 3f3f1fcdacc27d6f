/** Explains why a folder is not a model or an adapter, and what to use instead. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Returns why a path is not a model; null for a .gguf file, a folder with config.json, and a missing path. */
export function whyNoModel(path: string): string | null {
  if (!existsSync(path) || statSync(path).isFile() || existsSync(join(path, 'config.json'))) return null
  const isAdapter = existsSync(join(path, 'adapter_config.json'))
  const inside = join(path, 'model')
  const hint = isAdapter
    ? '; it holds an adapter: give it as the adapter, beside its base model'
    : existsSync(join(inside, 'config.json'))
      ? `; use ${inside}`
      : ''
  return `expected a .gguf file or a folder with config.json but "${path}" has none${hint}`
}

/** Advice for an adapter in a pickle, which can run code. */
export const pickledAdapter =
  'adapter_model.bin, a pickle that this package does not read: load it with PEFT and write it again (save_pretrained)'

/** Returns why a path is not an adapter; null for a folder with adapter_config.json and safetensors, and a missing path. */
export function whyNoAdapter(path: string): string | null {
  const has = (name: string) => existsSync(join(path, name))
  if (!existsSync(path)) return null
  if (has('adapter_config.json')) {
    const isPickled = has('adapter_model.bin') && !has('adapter_model.safetensors')
    return isPickled ? `"${path}" has its tensors as ${pickledAdapter}` : null
  }
  const inside = join(path, 'model')
  return existsSync(join(inside, 'config.json'))
    ? `the run in "${path}" changed the whole model and has no adapter; use ${inside} as the model`
    : `expected a folder with adapter_config.json but "${path}" has none`
}
