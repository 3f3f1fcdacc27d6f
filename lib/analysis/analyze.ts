import type { LayerFacts } from '../adapters/contract/adapter.js'
import { aFlag, aFunction, aNumber, aText, check, optionsSchema } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import {
  adaptableLayers,
  changeByAdapter,
  changeByModel,
  type ModelSource,
  openAdapter,
  openBase,
} from '../models/index.js'
import type { NativeDevice } from '../native/addon.js'
import { type DeviceOptions, openDevice } from '../tensor/device.js'
import { type Spectrum, spectrumOf } from './spectrum.js'

/** Options of `analyzeAdapter` and `analyzeModels`. */
export interface AnalyzeOptions extends HubOptions, Pick<DeviceOptions, 'threads'> {
  /** The adapter's base, or the model after training: a folder with `config.json` and safetensors, a `.gguf` file, or a hub id. */
  model: string
  /** Singular values above this are counted; 0.1 as in the MoRA paper. */
  threshold?: number
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

const commonArguments = {
  model: aText,
  threshold: aNumber.optional(),
  ...hubKinds,
  onProgress: aFunction.optional(),
}
const analyzeAdapterArguments = {
  options: optionsSchema('the options of analyzeAdapter', {
    ...commonArguments,
    adapter: aText,
    allowOtherBase: aFlag.optional(),
  }),
}
const analyzeModelsArguments = {
  options: optionsSchema('the options of analyzeModels', { ...commonArguments, base: aText }),
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
 * @throws UsageError for missing or mismatched inputs, InputError for malformed files, the reason of a `signal` that
 * is aborted
 */
export async function analyzeAdapter(
  options: AnalyzeOptions & {
    /** A folder in the layout of Hugging Face PEFT, or a hub id. */
    adapter: string
    /** Allow an adapter that was trained on another base. */
    allowOtherBase?: boolean
  },
): Promise<LayerSpectrum[]> {
  check({ options }, analyzeAdapterArguments)
  const device = deviceOf(options)
  using loaded = await openAdapter(options.model, device, options)
  const { source, layers } = loaded
  return await spectraOf([...layers.keys()], options, (facts) =>
    changeByAdapter(source, facts, layers.get(facts)!, device),
  )
}

/**
 * Computes the singular values of the difference between two models of one shape: ΔW = weight after - weight before,
 * in float32, of every linear layer of the blocks. Memory holds two weights.
 *
 * ```ts
 * import { analyzeModels, spectraByKind } from 'node-mora'
 *
 * const spectra = await analyzeModels({ model: 'merged', base: 'SmolLM2-135M-Instruct.Q4_1.gguf' })
 * console.log(spectraByKind(spectra).q?.aboveThreshold)
 * ```
 *
 * @throws UsageError `unfit-options` for layers of other shapes, InputError for malformed files, the reason of a `signal` that is
 * aborted
 */
export async function analyzeModels(
  options: AnalyzeOptions & {
    /** The model before training, whose layers have the same shapes. */
    base: string
  },
): Promise<LayerSpectrum[]> {
  check({ options }, analyzeModelsArguments)
  const device = deviceOf(options)
  const { model, base, offline, onDownload, onWarning, signal } = options
  const hub = { offline, onDownload, onWarning, signal }
  const [after, before] = [await openBase(model, hub), await openBase(base, hub)]
  try {
    const layers = linearLayers(before)
    requireSameShapes({ model, layers: linearLayers(after) }, { model: base, layers })
    return await spectraOf(layers, options, (facts) => changeByModel(before, facts, after, device))
  } finally {
    for (const source of [after, before]) source.closeFiles()
  }
}

function deviceOf({ threads, signal }: AnalyzeOptions): NativeDevice {
  signal?.throwIfAborted()
  return openDevice({ device: 'cpu', threads })
}

async function spectraOf(
  layers: readonly LayerFacts[],
  { threshold = 0.1, onProgress, signal }: AnalyzeOptions,
  changeOf: (layer: LayerFacts) => Promise<Float32Array>,
): Promise<LayerSpectrum[]> {
  const spectra: LayerSpectrum[] = []
  for (const layer of layers) {
    signal?.throwIfAborted()
    const { name, inFeatures, outFeatures } = layer
    const values = await changeOf(layer)
    spectra.push({ name, inFeatures, outFeatures, ...(await spectrumOf(values, outFeatures, inFeatures, threshold)) })
    onProgress?.({ done: spectra.length, total: layers.length })
  }
  return spectra
}

/** Returns the linear layers of the blocks. */
const linearLayers = ({ config }: ModelSource) => adaptableLayers(config).filter(({ role }) => role === undefined)

function requireSameShapes(after: { model: string; layers: readonly LayerFacts[] }, before: typeof after): void {
  const shapesOf = ({ layers }: typeof after) =>
    new Map(layers.map(({ name, inFeatures, outFeatures }) => [name, `${outFeatures} × ${inFeatures}`]))
  const [is, was] = [shapesOf(after), shapesOf(before)]
  const name = [...was.keys(), ...is.keys()].find((layer) => is.get(layer) !== was.get(layer))
  if (name === undefined) return
  const [now, then] = [is, was].map((shapes) => shapes.get(name) ?? 'missing')
  throw new UsageError(
    'unfit-options',
    `Only models of one shape can be compared, but ${name} is ${now} in ${after.model} and ${then} in ${before.model}.`,
  )
}
