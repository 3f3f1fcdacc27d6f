import { readAdapterLayers } from '../adapters/read-layers.js'
import { adaptableLayers, baseModelOf, ModelSource } from '../models/index.js'
import { native } from '../native.js'
import { openDevice } from '../tensor/device.js'
import { keep, scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { type Spectrum, spectrumOf } from './spectrum.js'

export interface AnalyzeOptions {
  /** The base: a folder with `config.json` and safetensors, or a `.gguf` file. */
  model: string
  /** A folder in the layout of Hugging Face PEFT. */
  adapter: string
  /** Singular values above this are counted; 0.1 as in the MoRA paper. */
  threshold?: number
  /** Also analyse an adapter that was trained on another base. */
  allowOtherBase?: boolean
  threads?: number
  /** Called after each layer. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** The spectrum of ΔW [outFeatures, inFeatures] of one layer. */
export interface LayerSpectrum extends Spectrum {
  readonly name: string
  readonly inFeatures: number
  readonly outFeatures: number
}

/**
 * Singular values of what an adapter adds to each weight: ΔW = merged weight - weight, in float32. Memory holds the adapter
 * and two weights.
 *
 * @throws UsageError for what is missing or does not fit together, InputError for malformed files
 */
export async function analyzeAdapter({
  model,
  adapter,
  threshold = 0.1,
  allowOtherBase,
  threads,
  onProgress,
}: AnalyzeOptions): Promise<LayerSpectrum[]> {
  const device = openDevice({ device: 'cpu', threads })
  const source = await ModelSource.open(model)
  const { config } = source
  const base = baseModelOf(config, source)
  const { layers, modules } = await readAdapterLayers(adapter, adaptableLayers(config), base, {
    device,
    adapter,
    allowOtherBase,
  })
  const spectra: LayerSpectrum[] = []
  try {
    using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
    for (const [{ name, inFeatures, outFeatures }, layer] of layers) {
      const shape = [outFeatures, inFeatures]
      using change = scope(() => {
        const weight = source.load(`${name}.weight`, shape, 'float32', device)
        const merged = Tensor.empty(shape, { device, dtype: 'float32' })
        merged.copyFrom(weight)
        layer.mergeInto(merged, 1, nonFinite)
        native.add(weight.native, merged.native, -1)
        return merged
      })
      const values = (await change.data()) as Float32Array
      spectra.push({ name, inFeatures, outFeatures, ...(await spectrumOf(values, outFeatures, inFeatures, threshold)) })
      onProgress?.({ done: spectra.length, total: layers.size })
    }
  } finally {
    for (const part of [...layers.values(), ...modules.values()]) part.dispose()
    source.unmap()
  }
  return spectra
}
