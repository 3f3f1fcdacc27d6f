import type { Tokenizer } from '../data/tokenizer.js'
import { loadTokenizer } from '../data/tokenizer.js'
import { UsageError } from '../errors.js'
import { readJsonObject } from '../io/json.js'
import { type FloatDType, type NativeDevice, native } from '../native.js'
import { parseConfig } from './config.js'
import { Model } from './model.js'
import { ModelSource } from './source.js'
import { randomWeights, storedWeights } from './weights.js'

export interface DeviceOptions {
  /** `auto` (default: a GPU where there is one), `cpu`, `cuda` or `cuda:n`. */
  device?: string
  /** Of activations and frozen weights; `auto` (default) is bfloat16 where the device multiplies it fast, else float32. */
  dtype?: 'auto' | FloatDType
  /** CPU threads; 0 (default) is all cores. */
  threads?: number
  /**
   * Precision of the rotary frequencies. `float32` (default) is what Hugging Face computes when it loads a checkpoint;
   * `bfloat16` reproduces a PyTorch model that was cast as a whole with `model.to(bfloat16)`, frequencies included.
   */
  rotaryDtype?: 'float32' | 'bfloat16'
}

/** Opens a device; throws a sentence that says why where it is absent. */
export function openDevice({ device = 'auto', threads = 0 }: DeviceOptions = {}): NativeDevice {
  const match = /^(auto|cpu|cuda)(?::(\d+))?$/.exec(device)
  if (!match || (match[2] !== undefined && match[1] !== 'cuda')) {
    throw new UsageError('unknown-device', `Expected auto, cpu, cuda or cuda:N for device but received ${device}.`)
  }
  const kind = match[1] === 'auto' ? (native.whyUnavailable('cuda') === null ? 'cuda' : 'cpu') : match[1]!
  const why = native.whyUnavailable(kind)
  if (why !== null) throw new UsageError('device-unavailable', `Device ${kind} cannot be used: ${why}.`)
  const opened = native.openDevice(kind, Number(match[2] ?? 0), threads)
  if (threads > 0) opened.setThreads(threads)
  return opened
}

function resolveDType(dtype: 'auto' | FloatDType, device: NativeDevice): FloatDType {
  if (dtype === 'auto') return device.facts().fastBfloat16 ? 'bfloat16' : 'float32'
  if (dtype === 'float16' && device.kind === 'cpu') {
    throw new UsageError(
      'unfit-dtype',
      'The CPU computes in float32 or bfloat16, not in float16; choose one of them for dtype.',
    )
  }
  return dtype
}

/**
 * Loads a model: a folder with `config.json` and safetensors, or a `.gguf` file. Block formats are turned into `dtype`.
 * Throws a UsageError for what is missing or not supported, by name, and an InputError for malformed files.
 */
export async function loadModel(path: string, options: DeviceOptions = {}): Promise<Model> {
  const device = openDevice(options)
  const source = await ModelSource.open(path)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  const tokenizer = await loadTokenizer(path)
  const weights = storedWeights(source, dtype, device)
  const model = new Model({ config: source.config, tokenizer, weights, source, rotaryDtype: options.rotaryDtype })
  await device.synchronize()
  source.unmap()
  return model
}

/** A model with random weights, by a `config.json`, to pretrain from scratch. */
export async function initModel(
  configPath: string,
  { seed = 0, tokenizer = null, ...options }: DeviceOptions & { seed?: number; tokenizer?: Tokenizer | null } = {},
): Promise<Model> {
  const device = openDevice(options)
  const config = parseConfig(await readJsonObject(configPath), configPath)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  return new Model({ config, tokenizer, weights: randomWeights(config, seed, dtype, device), source: null })
}
