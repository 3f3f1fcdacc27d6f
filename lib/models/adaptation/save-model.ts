import { z } from 'zod'
import { aFlag, aSignal, aText, check, expecting, optionsSchema } from '../../common/arguments.js'
import type { Tensor } from '../../tensor/tensor.js'
import { MODEL_FORMATS, WRITTEN_DTYPES, WRITTEN_QUANTISE_FORMATS } from '../formats.js'
import { type Replacing, requireFreeModelOutput, type WrittenForm, writeModel } from '../write/write-model.js'
import type { AdapterSet } from './adapter-set.js'

/** Options of `Model.save`. */
export interface SaveOptions extends WrittenForm, Replacing {
  /** Whether to merge active adapters too. */
  mergeActive?: boolean
  /** Aborting it stops the write between two tensors with the signal's reason; nothing is written then. */
  signal?: AbortSignal
}

const saveModelArguments = {
  output: expecting('the path of a folder or .gguf file', aText),
  options: optionsSchema('the options of save', {
    format: z.enum(MODEL_FORMATS).optional(),
    mergeActive: aFlag.optional(),
    overwrite: aFlag.optional(),
    signal: aSignal.optional(),
    quantise: z.enum(WRITTEN_QUANTISE_FORMATS).optional(),
    imatrix: aText.optional(),
    dtype: z.enum(WRITTEN_DTYPES.filter((dtype) => dtype !== 'auto')).optional(),
  }),
}

/**
 * Writes a model in Hugging Face's layout, or as a GGUF file. Frozen weights are read again from their file in float32 and
 * merged adapters (with `mergeActive`, active ones too) are added, so that the sum is rounded once.
 * @throws what `requireFreeModelOutput` throws
 */
export async function saveModel(adapterSet: AdapterSet, output: string, options: SaveOptions): Promise<void> {
  check({ output, options }, saveModelArguments)
  const { dtype, format, quantise, imatrix, mergeActive = false, overwrite, signal } = options
  signal?.throwIfAborted()
  const { model } = adapterSet
  const { tokenizer, source, device, pooling, base } = model
  await requireFreeModelOutput(output, { format, inputs: [source?.path, imatrix], overwrite })
  const config =
    base.labels && adapterSet.hasHead(mergeActive) ? { ...model.config, labels: base.labels } : model.config
  const fill = (name: string, values: Tensor): void => adapterSet.fill(model.slot(name), values, mergeActive)
  const isUnchanged = (name: string): boolean => adapterSet.isAsStored(model.slot(name), mergeActive)
  await writeModel({ config, tokenizer, source, device, pooling, fill, isUnchanged }, output, {
    dtype,
    format,
    quantise,
    imatrix,
    onTensor: () => signal?.throwIfAborted(),
  })
}
