import { z } from 'zod'
import { aFlag, aFunction, aText, check, optionsSchema } from '../../common/arguments.js'
import { type HubOptions, hubKinds } from '../../hub/index.js'
import { elementsOf, type NativeDevice, native } from '../../native/addon.js'
import { type DeviceOptions, openDevice } from '../../tensor/device.js'
import { requireFreeMemory } from '../../tensor/memory-budget.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { loadTokenizer } from '../../text/tokenizer.js'
import {
  checkWrittenForm,
  type GgufDType,
  MODEL_FORMATS,
  outputFormat,
  WRITTEN_DTYPES,
  WRITTEN_QUANTISE_FORMATS,
} from '../formats.js'
import { weightShapes } from '../network/plan.js'
import { type Replacing, requireFreeModelOutput, type WrittenForm, writeModel } from '../write/write-model.js'
import { openAdapter, openBase } from './base.js'
import { editsOf } from './model-adapter.js'

/** Options of `mergeModel`. */
export interface MergeModelOptions extends DeviceOptions, HubOptions, Omit<WrittenForm, 'dtype'>, Replacing {
  /** A folder with `config.json` and safetensors, a `.gguf` file, or a hub id. */
  model: string
  /** A folder in the layout of Hugging Face PEFT, or a hub id; absent: the model is converted to another form. */
  adapter?: string | undefined
  /** The folder to write, or the file ending with `.gguf`. */
  output: string
  /**
   * The dtype of the merged weights; `auto` (default) is the source's, bfloat16 where that is quantised. Mixtures of blocks
   * (`q4_k_m`, …) with GGUF only.
   */
  dtype?: 'auto' | GgufDType
  /** Accept an adapter that was trained on another base. */
  allowOtherBase?: boolean
  /** Called after each tensor. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Result of `mergeModel`. */
export interface MergeModelResult {
  /** Number of weights that the adapter changed. */
  merged: number
  /** Largest change of a weight, before it is rounded. */
  maxAbsoluteChange: number
  /** The folder or GGUF file that was written. */
  output: string
}

const mergeModelArguments = {
  options: optionsSchema('the options of mergeModel', {
    model: aText,
    adapter: aText.optional(),
    output: aText,
    allowOtherBase: aFlag.optional(),
    overwrite: aFlag.optional(),
    format: z.enum(MODEL_FORMATS).optional(),
    dtype: z.enum(WRITTEN_DTYPES).optional(),
    quantise: z.enum(WRITTEN_QUANTISE_FORMATS).optional(),
    imatrix: aText.optional(),
    ...hubKinds,
    onProgress: aFunction.optional(),
  }),
}

/**
 * Merges an adapter into a model on disk in one pass, without loading the model: each weight is read, ΔW is added in
 * float32, and the sum is rounded once and written. Memory holds the adapter and one weight. Without an adapter, the model is
 * converted: to a GGUF file or a folder, another dtype, or quantised.
 *
 * ```ts
 * import { mergeModel } from 'node-mora'
 *
 * const { merged } = await mergeModel({
 *   model: 'SmolLM2-135M-Instruct.Q4_1.gguf',
 *   adapter: 'out',
 *   output: 'merged.gguf',
 *   dtype: 'bfloat16',
 * })
 * ```
 *
 * @throws UsageError `output-exists` for an output that holds something, unless `overwrite` is given; UsageError for what is
 * missing, unsupported or does not fit together, InputError for malformed files, RunError `non-finite` if a sum is not finite,
 * and the reason of an aborted `signal`; nothing is written then
 */
export async function mergeModel(options: MergeModelOptions): Promise<MergeModelResult> {
  check({ options }, mergeModelArguments)
  const { model, adapter, output, overwrite, dtype = 'auto', format, quantise, imatrix, onProgress } = options
  const { onWarning, signal } = options
  signal?.throwIfAborted()
  checkWrittenForm({ format: outputFormat(output, format), dtype, quantise, imatrix }, { model, adapter })
  await requireFreeModelOutput(output, { format, inputs: [model, adapter, imatrix], overwrite })
  const device = openDevice({ device: options.device, threads: options.threads, allowTf32: options.allowTf32 })
  using loaded = await openWith(adapter, model, device, options)
  const { source } = loaded
  const config = loaded.labels ? { ...source.config, labels: loaded.labels } : source.config
  // Only GGUF's form of another tokenizer has to be made: all else is copied.
  const copied = source.format === 'gguf' || outputFormat(output, format) === 'safetensors'
  const tokenizer = copied ? null : await loadTokenizer(source.path)
  const edits = editsOf(loaded)
  // In float32: the weight, its previous values, and ΔW with its intermediates; then the rounded weight, and its bytes for the
  // file.
  const sizes = [...weightShapes(config)].map(([name, shape]) => (edits.has(name) ? 4 : 2) * 4 * elementsOf(shape))
  const bytes = { tensors: Math.max(...sizes), making: Math.max(...sizes) / 4 }
  requireFreeMemory(device, bytes, 'Writing the largest weight', 'give it more, or use a smaller model')
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  using largestChange = keep(Tensor.zeros([1], { device }))
  const fill = (name: string, values: Tensor): void => {
    if (source.shapes.has(name)) source.loadInto(name, values)
    // A head that only the adapter has.
    else native.fill(values.native, 0)
    const edit = edits.get(name)
    if (!edit) return
    using before = keep(Tensor.empty(values.shape, values))
    before.copyFrom(values)
    edit(values, nonFinite)
    native.largestDifference(before.native, values.native, largestChange.native, true)
  }
  const isUnchanged = (name: string): boolean => !edits.has(name)
  const { pooling = source.embeddings.pooling } = loaded.provenance
  const written = await writeModel({ config, tokenizer, source, device, pooling, fill, isUnchanged }, output, {
    format,
    quantise,
    imatrix,
    onWarning,
    dtype: dtype === 'auto' ? undefined : dtype,
    onTensor: (done, total) => {
      signal?.throwIfAborted()
      onProgress?.({ done, total })
    },
  })
  return { merged: edits.size, maxAbsoluteChange: await largestChange.item(), output: written }
}

/** Opens a model and its adapter; without one, nothing is changed. */
async function openWith(
  adapter: string | undefined,
  model: string,
  device: NativeDevice,
  options: MergeModelOptions,
): Promise<Omit<Awaited<ReturnType<typeof openAdapter>>, 'config' | 'base'>> {
  if (adapter !== undefined) return openAdapter(model, device, { ...options, adapter })
  const source = await openBase(model, { ...options, adapter: undefined, quantise: undefined })
  return {
    source,
    layers: new Map(),
    modules: new Map(),
    provenance: {},
    [Symbol.dispose]: () => source.closeFiles(),
  }
}
