/** Exports an adapter as a LoRA that other programs read: PEFT's files, or a GGUF adapter for llama.cpp. */

import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import type { LayerFacts } from '../../adapters/contract/adapter.js'
import type { BaseModel } from '../../adapters/contract/base-model.js'
import { isAdapterFile } from '../../adapters/files/adapter-folder.js'
import type { LoadedAdapter } from '../../adapters/files/read-layers.js'
import { lora } from '../../adapters/methods/lora.js'
import { principalFactors, storedFactors } from '../../adapters/methods/low-rank.js'
import { aFlag, aFunction, aText, check, optionsSchema, wholeFrom } from '../../common/arguments.js'
import { RunError, UsageError } from '../../common/errors.js'
import { optionName, theOption } from '../../common/option-names.js'
import { type HubOptions, hubKinds } from '../../hub/index.js'
import { replaceFolder } from '../../io/atomic.js'
import { requireFreeOutput } from '../../io/free-output.js'
import { removeLeftovers } from '../../io/leftovers.js'
import type { NativeDevice } from '../../native/addon.js'
import type { LayerAdapter, LowRankFactors } from '../../nn/layer-adapter.js'
import { type DeviceOptions, openDevice } from '../../tensor/device.js'
import type { ModelSource } from '../read/model-source.js'
import { writeGgufLora } from '../write/write-gguf-lora.js'
import { openAdapter, saveAdapter } from './base.js'
import { changeByAdapter } from './weight-change.js'

/** Options of `exportAdapter`. */
export interface ExportAdapterOptions extends HubOptions, Pick<DeviceOptions, 'threads'> {
  /** The base: a folder with `config.json` and safetensors, a `.gguf` file, or a hub id. */
  model: string
  /** A folder in the layout of Hugging Face PEFT, or a hub id. */
  adapter: string
  /** The folder (`peft`) or file (`gguf-lora`) to write. */
  output: string
  /**
   * Replaces an adapter in the folder, whose other files stay, or the file. Otherwise a file that exists and a folder that is
   * not empty are refused.
   */
  overwrite?: boolean
  /** A LoRA for PEFT, or for llama.cpp. */
  format: 'peft' | 'gguf-lora'
  /** For an adapter that is not a LoRA, or has a higher rank: write the nearest LoRA of this rank. */
  approximateRank?: number
  /** Write the LoRA even if it loses more than a tenth of ΔW (`relativeError` above 0.1). */
  force?: boolean
  /** The dtype of factors in a GGUF adapter; default float32. */
  dtype?: 'float32' | 'bfloat16' | 'float16'
  /** Also export an adapter that was trained on another base. */
  allowOtherBase?: boolean
  /** Called after each layer. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Result of `exportAdapter`, with the part of ΔW that it lost. */
export interface ExportAdapterResult {
  /** Number of layers that have factors in the file. */
  layers: number
  /** The largest rank of a layer. */
  rank: number
  /** Whether ΔW is the adapter's own, up to rounding; otherwise it is the nearest one of the rank. */
  exact: boolean
  /** ‖ΔW − B A‖ / ‖ΔW‖ (Frobenius) over all layers together. 0 where exact. */
  relativeError: number
  /** The error of each layer, in the order of the model. */
  layerErrors: {
    /** Module path of the layer. */
    name: string
    /** ‖ΔW − B A‖ / ‖ΔW‖ (Frobenius) of the layer; 0 where exact. */
    relativeError: number
  }[]
}

/** A layer as a LoRA, and its error: the root of the ratio of the residual's sum of squares to that of ΔW. */
interface ExportedLayer extends LowRankFactors {
  readonly layer: LayerFacts
  readonly lostSquares: number
  readonly squares: number
}

const exportAdapterArguments = {
  options: optionsSchema('the options of exportAdapter', {
    model: aText,
    adapter: aText,
    output: aText,
    format: z.enum(['peft', 'gguf-lora']),
    approximateRank: wholeFrom(1).optional(),
    force: aFlag.optional(),
    overwrite: aFlag.optional(),
    allowOtherBase: aFlag.optional(),
    dtype: z.enum(['float32', 'bfloat16', 'float16']).optional(),
    ...hubKinds,
    onProgress: aFunction.optional(),
  }),
}

/**
 * Writes an adapter as a LoRA for PEFT or llama.cpp. MoRA with sharing (rank R) and the methods that are a LoRA are exact; for
 * others, given a rank, the truncated singular value decomposition of ΔW is written.
 *
 * ```ts
 * import { exportAdapter } from 'node-mora'
 *
 * const { rank, exact } = await exportAdapter({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   adapter: 'sharing',
 *   output: 'for-peft',
 *   format: 'peft',
 * })
 * ```
 *
 * @throws UsageError `output-exists` for an output that holds something, unless `overwrite` is given; `not-low-rank` for an
 * adapter that is not a LoRA without `approximateRank`, `unfit-options` for what the format cannot hold; RunError
 * `another-adapter` for an approximation with an error above 0.1, unless `force` is given; the reason of an aborted `signal`; and
 * what reading an adapter throws. Nothing is written then
 */
export async function exportAdapter(options: ExportAdapterOptions): Promise<ExportAdapterResult> {
  check({ options }, exportAdapterArguments)
  const { model, adapter, output, overwrite, format, onProgress, signal } = options
  signal?.throwIfAborted()
  await removeLeftovers(dirname(resolve(output)))
  requireFreeOutput(format === 'peft' ? 'adapter' : 'file', output, { inputs: [model, adapter], overwrite })
  const device = openDevice({ device: 'cpu', threads: options.threads })
  using loaded = await openAdapter(model, device, options)
  const { source, base } = loaded
  const layers: ExportedLayer[] = []
  for (const [facts, layer] of loaded.layers) {
    signal?.throwIfAborted()
    layers.push(await exported(facts, layer, loaded, source, device, options))
    onProgress?.({ done: layers.length, total: loaded.layers.size })
  }
  signal?.throwIfAborted()
  const result = report(layers)
  if (!options.force) requireNear(result)
  if (format === 'peft') {
    await replaceFolder(output, (folder) => writePeft(folder, loaded, layers, source, base), isAdapterFile)
  } else {
    requireNothingElse(loaded, layers)
    await writeGgufLora(output, source.config, layers, options.dtype ?? 'float32')
  }
  return result
}

async function exported(
  layer: LayerFacts,
  adapter: LayerAdapter,
  { config }: LoadedAdapter<LayerFacts>,
  source: ModelSource,
  device: NativeDevice,
  { approximateRank = Number.POSITIVE_INFINITY }: ExportAdapterOptions,
): Promise<ExportedLayer> {
  const exact = adapter.factors?.() ?? null
  if (exact && exact.rank <= approximateRank) return { layer, ...exact, lostSquares: 0, squares: 0 }
  if (approximateRank === Number.POSITIVE_INFINITY) {
    const what = 'operator' in config ? `${config.method} with the operator ${config.operator}` : config.method
    throw new UsageError(
      'not-low-rank',
      `${what} is not a LoRA: give ${optionName('approximateRank')} for the nearest one of a rank, or merge it into the model (${theOption('format', 'gguf or safetensors')}).`,
    )
  }
  const delta = await changeByAdapter(source, layer, adapter, device)
  const shape = [layer.outFeatures, layer.inFeatures] as const
  const { a, b, rank, singularValues } = await principalFactors(delta, shape, approximateRank)
  const squaresFrom = (start: number) => singularValues.slice(start).reduce((sum, value) => sum + value ** 2, 0)
  const factors = { rank, scale: 1, a: async () => a, b: async () => b }
  return { layer, ...factors, lostSquares: squaresFrom(rank), squares: squaresFrom(0) }
}

/** The largest relative error of an approximation that is written without `force`. */
export const LARGEST_ERROR = 0.1

function requireNear({ rank, relativeError }: ExportAdapterResult): void {
  if (relativeError <= LARGEST_ERROR) return
  throw new RunError(
    'another-adapter',
    `The nearest LoRA of rank ${rank} leaves out ${relativeError.toFixed(2)} of what the adapter adds (‖ΔW − B A‖ / ‖ΔW‖, at most ${LARGEST_ERROR}): that is another adapter. Use a higher rank, merge the adapter into the model (${theOption('format', 'gguf or safetensors')}), or write it anyway with ${theOption('force')}.`,
  )
}

function report(layers: readonly ExportedLayer[]): ExportAdapterResult {
  const error = (lost: number, all: number) => (lost === 0 ? 0 : Math.sqrt(lost / all))
  const sum = (of: 'lostSquares' | 'squares') => layers.reduce((total, layer) => total + layer[of], 0)
  return {
    layers: layers.length,
    rank: Math.max(...layers.map(({ rank }) => rank)),
    exact: layers.every(({ squares }) => squares === 0),
    relativeError: error(sum('lostSquares'), sum('squares')),
    layerErrors: layers.map(({ layer, lostSquares, squares }) => ({
      name: layer.name,
      relativeError: error(lostSquares, squares),
    })),
  }
}

/** Each layer has its own rank and, in place of its scale, an alpha. */
async function writePeft(
  folder: string,
  { config, modules, provenance }: LoadedAdapter<LayerFacts>,
  layers: readonly ExportedLayer[],
  source: ModelSource,
  base: BaseModel,
): Promise<void> {
  const rank = Math.max(...layers.map((layer) => layer.rank))
  const alphaOf = ({ rank, scale }: ExportedLayer) => rank * scale
  const alpha = alphaOf(layers[0]!)
  const pattern = (value: (layer: ExportedLayer) => number, usual: number) =>
    Object.fromEntries(layers.flatMap((layer) => (value(layer) === usual ? [] : [[layer.layer.name, value(layer)]])))
  const asLora = lora({
    rank,
    alpha,
    targetModules: config.targetModules,
    modulesToSave: config.modulesToSave,
    rankPattern: pattern((layer) => layer.rank, rank),
    alphaPattern: pattern(alphaOf, alpha),
  })
  const tensors = new Map(layers.map((layer) => [layer.layer.name, storedFactors(layer.layer, layer)]))
  await saveAdapter({ base, source }, { config: asLora, tensors, modules, provenance }, folder)
}

function requireNothingElse({ modules }: LoadedAdapter<LayerFacts>, layers: readonly ExportedLayer[]): void {
  const other = [...modules.keys(), ...layers.flatMap(({ layer }) => (layer.role === 'embeddings' ? [layer.name] : []))]
  if (other.length === 0) return
  throw new UsageError(
    'unfit-options',
    `A GGUF adapter has no place for ${other[0]}, which this adapter changes: merge it into the model instead (${theOption('format', 'gguf')}).`,
  )
}
