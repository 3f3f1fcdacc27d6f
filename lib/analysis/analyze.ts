import { aFlag, aFunction, aNumber, aText, check, optionsSchema } from '../common/arguments.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { openAdapter, weightChange } from '../models/index.js'
import { type DeviceOptions, openDevice } from '../tensor/device.js'
import { type Spectrum, spectrumOf } from './spectrum.js'

/** Options of `analyzeAdapter`: an adapter and its base. */
export interface AnalyzeOptions extends HubOptions, Pick<DeviceOptions, 'threads'> {
  /** The base: a folder with `config.json` and safetensors, a `.gguf` file, or a hub id. */
  model: string
  /** A folder in the layout of Hugging Face PEFT, or a hub id. */
  adapter: string
  /** Singular values above this are counted; 0.1 as in the MoRA paper. */
  threshold?: number
  /** Allow an adapter that was trained on another base. */
  allowOtherBase?: boolean
  /** Called after each layer. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** The spectrum of ΔW [outFeatures, inFeatures] of one layer. */
export interface LayerSpectrum extends Spectrum {
  /** Module path of the layer, such as `model.layers.0.self_attn.q_proj`. */
  readonly name: string
  /** Columns of ΔW. */
  readonly inFeatures: number
  /** Rows of ΔW. */
  readonly outFeatures: number
}

const analyzeAdapterArguments = {
  options: optionsSchema('the options of analyzeAdapter', {
    model: aText,
    adapter: aText,
    threshold: aNumber.optional(),
    allowOtherBase: aFlag.optional(),
    ...hubKinds,
    onProgress: aFunction.optional(),
  }),
}

/**
 * Computes the singular values of an adapter's change of each weight: ΔW = merged weight - weight, in float32. Memory holds
 * the adapter and two weights.
 *
 * ```ts
 * import { analyzeAdapter } from 'node-mora'
 *
 * for (const { name, aboveThreshold } of await analyzeAdapter({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   adapter: 'out',
 *   threshold: 0.1,
 * })) {
 *   console.log(name, aboveThreshold)
 * }
 * ```
 *
 * @throws UsageError for what is missing or does not fit together, InputError for malformed files, the reason of a `signal` that
 * is aborted
 */
export async function analyzeAdapter(options: AnalyzeOptions): Promise<LayerSpectrum[]> {
  check({ options }, analyzeAdapterArguments)
  const { model, threshold = 0.1, threads, onProgress, signal } = options
  signal?.throwIfAborted()
  const device = openDevice({ device: 'cpu', threads })
  using loaded = await openAdapter(model, device, options)
  const { source, layers } = loaded
  const spectra: LayerSpectrum[] = []
  for (const [facts, layer] of layers) {
    signal?.throwIfAborted()
    const { name, inFeatures, outFeatures } = facts
    const values = await weightChange(source, facts, layer, device)
    spectra.push({ name, inFeatures, outFeatures, ...(await spectrumOf(values, outFeatures, inFeatures, threshold)) })
    onProgress?.({ done: spectra.length, total: layers.size })
  }
  return spectra
}
