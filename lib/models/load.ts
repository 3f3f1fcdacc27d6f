import type { Tokenizer } from '../data/tokenizer.js'
import { loadTokenizer } from '../data/tokenizer.js'
import { readJsonObject } from '../io/json.js'
import type { FloatDType, NativeDevice } from '../native.js'
import { LoadSchema, parseOptions } from '../options/index.js'
import { type DeviceOptions, openDevice } from '../tensor/device.js'
import { parseConfig } from './config.js'
import { Model } from './model.js'
import { ModelSource } from './source.js'
import { randomWeights, storedWeights } from './weights.js'

export interface LoadOptions extends DeviceOptions {
  /** Of activations and frozen weights; `auto` (default) is bfloat16 where the device multiplies it fast, else float32. */
  dtype?: 'auto' | FloatDType
  /**
   * Precision of the rotary frequencies. `float32` (default) is what Hugging Face computes when it loads a checkpoint;
   * `bfloat16` reproduces a PyTorch model that was cast as a whole with `model.to(bfloat16)`, frequencies included.
   */
  rotaryDtype?: 'float32' | 'bfloat16'
}

function resolveDType(dtype: 'auto' | FloatDType, device: NativeDevice): FloatDType {
  if (dtype !== 'auto') return dtype
  return device.facts().fastBfloat16 ? 'bfloat16' : 'float32'
}

/**
 * Loads a model: a folder with `config.json` and safetensors, or a `.gguf` file. Block formats are turned into `dtype`.
 * Throws a UsageError for what is missing or not supported, by name, and an InputError for malformed files.
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  parseOptions(LoadSchema, options, { source: 'api' })
  const device = openDevice(options)
  const source = await ModelSource.open(path)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  const tokenizer = await loadTokenizer(path)
  const weights = storedWeights(source, dtype, device)
  const model = new Model({ tokenizer, weights, source, rotaryDtype: options.rotaryDtype })
  await device.synchronize()
  source.unmap()
  return model
}

/** A model with random weights, by a `config.json`, to pretrain from scratch. */
export async function initModel(
  configPath: string,
  { seed = 0, tokenizer = null, ...options }: LoadOptions & { seed?: number; tokenizer?: Tokenizer | null } = {},
): Promise<Model> {
  parseOptions(LoadSchema, options, { source: 'api' })
  const device = openDevice(options)
  const config = parseConfig(await readJsonObject(configPath), configPath)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  const weights = randomWeights(config, seed, dtype, device)
  return new Model({ tokenizer, weights, source: null, rotaryDtype: options.rotaryDtype })
}
