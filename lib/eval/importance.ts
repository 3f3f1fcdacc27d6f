import type { EncodedRow } from '../batches/examples/encode.js'
import { exampleOf } from '../batches/examples/example.js'
import { addLength, leftOutNote, longRowsNote, noLengths } from '../batches/examples/summary.js'
import { packRows, passesOf } from '../batches/packing.js'
import { aFunction, check, having, optionsSchema } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { requireFreeOutput } from '../io/free-output.js'
import { sharedName } from '../io/paths.js'
import { columnsInFile, type Model, weightsByInput, writeImportance } from '../models/index.js'
import { native } from '../native/addon.js'
import {
  type EvalOptions,
  EvalSchema,
  type ImatrixInput,
  ImatrixSchema,
  parseOptions,
  requireOptions,
} from '../options/index.js'
import { pathsOf } from '../rows/sources/source.js'
import { cast, square } from '../tensor/operations/arithmetic.js'
import { keep, scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import type { EvalProgress } from './context.js'
import { noTargets, openTask, scoredRows } from './rows.js'

const aModel = having('a model (loadModel gives one)', 'forwardAsync', 'linears', 'withAdapters', 'config')

/** Options of `importanceMatrix`: the options of `mora imatrix` in camelCase, and callbacks. */
export interface ImportanceOptions extends ImatrixInput, Pick<HubOptions, 'onDownload' | 'onWarning' | 'signal'> {
  /** Called after each row, or for a text after each window. */
  onProgress?: (progress: EvalProgress) => void
}

const importanceMatrixArguments = {
  model: aModel,
  input: optionsSchema('the options of importanceMatrix', { ...hubKinds, onProgress: aFunction.optional() }),
}

/**
 * Measures the inputs of each linear layer of the blocks, in passes of a model with its active adapters over the windows or
 * rows that the task `perplexity` reads, and writes an importance matrix for `mergeModel`, `Model.save` and llama.cpp's
 * quantiser: for each column the sum over tokens of the input's square, and the number of tokens. Squares are float32, and sums
 * over forward passes float64.
 *
 * ```ts
 * import { importanceMatrix, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await importanceMatrix(model, { data: 'train.jsonl', output: 'imatrix.gguf' })
 * await model.save('small.gguf', { dtype: 'q8_0', imatrix: 'imatrix.gguf' })
 * ```
 *
 * @throws UsageError `output-exists` for a file that exists, unless `overwrite` is given, and of options that are wrong or do not fit
 * the model, InputError of malformed rows, RunError `non-finite`
 * @throws the reason of a `signal` that is aborted, between rows and forward passes
 */
export async function importanceMatrix(
  model: Model,
  input: ImportanceOptions,
): Promise<{
  /** The file that was written. */
  output: string
  /** Number of weights whose columns have an importance. */
  weights: number
  /** Number of tokens read. */
  tokens: number
  /** Number of rows read, or of windows of a text. */
  chunks: number
}> {
  check({ model, input }, importanceMatrixArguments)
  const { onProgress, onDownload, onWarning = () => {}, signal, ...given } = input
  signal?.throwIfAborted()
  const options = parseOptions(ImatrixSchema, given)
  requireOptions(ImatrixSchema, options)
  const inputs = [model.source?.path, ...pathsOf(options.data)]
  requireFreeOutput('file', options.output, { inputs, overwrite: options.overwrite })
  const hub = { offline: options.offline, onDownload, onWarning, signal }
  const reading = parseOptions(EvalSchema, { task: 'perplexity', data: given.data })
  const settings = await openTask(model, { ...reading, ...options } as EvalOptions, hub)
  const lengths = noLengths()
  const context = {
    ...settings,
    base: null,
    done: async () => {},
    encoded: (row: EncodedRow) => addLength(lengths, row),
  }
  const passes = model.withAdapters()
  const squares = new SquaresOfInputs(model)
  let [chunks, tokens, longest] = [0, 0, 0]
  try {
    for await (const pass of passesOf(scoredRows(context), options.batchSize)) {
      signal?.throwIfAborted()
      const batch = packRows(pass.map(exampleOf))
      using _ = await passes.forwardAsync(batch, { rows: 'targets', gradients: false })
      await squares.endPass()
      for (const { ids } of pass) {
        chunks++
        tokens += ids.length
        longest = Math.max(longest, ids.length)
        onProgress?.({ done: chunks, total: options.limit ?? null, summary: `${tokens} tokens` })
      }
    }
  } finally {
    squares.dispose()
  }
  if (tokens === 0) throw noTargets(settings.data, 'none is read')
  for (const note of [longRowsNote(lengths), leftOutNote(lengths)]) if (note) onWarning(`${note}.`)
  const sums = squares.byWeight()
  const datasets = settings.data.map(({ name }) => sharedName(name))
  await writeImportance(options.output, { sums, tokens, datasets, chunks, chunkSize: longest })
  return { output: options.output, weights: sums.size, tokens, chunks }
}

/** Observes the layers of a model until it is disposed. */
class SquaresOfInputs {
  /** Sums of the last pass, on the device, and of all passes, by the name of the first layer that reads an input. */
  readonly #inputs = new Map<string, { ofPass: Tensor; total: Float64Array }>()
  readonly #weights: ReadonlyMap<string, string[]>

  constructor(readonly model: Model) {
    this.#weights = weightsByInput(model.config)
    for (const layer of model.linears()) {
      if (!this.#weights.has(layer.name)) continue
      const columns = layer.inFeatures
      const ofPass = keep(Tensor.zeros([columns], { device: model.device }))
      this.#inputs.set(layer.name, { ofPass, total: new Float64Array(columns) })
      layer.observer = (x) =>
        noGrad(() => scope(() => native.columnSums(square(cast(x, 'float32')).native, ofPass.native, false)))
    }
  }

  /** Adds the sums of the last pass. @throws RunError `non-finite` */
  async endPass(): Promise<void> {
    for (const [name, { ofPass, total }] of this.#inputs) {
      for (const [column, value] of (await ofPass.data()).entries()) {
        if (!Number.isFinite(Number(value)))
          throw new RunError('non-finite', `The squared inputs of column ${column} of ${name} sum up to ${value}.`)
        total[column]! += Number(value)
      }
    }
  }

  /** Returns the sums of all passes, by the name of each weight in GGUF. */
  byWeight(): Map<string, Float64Array> {
    return new Map(
      [...this.#inputs].flatMap(([layer, { total }]) =>
        this.#weights.get(layer)!.map((name) => [name, columnsInFile(this.model.config, name, total)] as const),
      ),
    )
  }

  dispose(): void {
    for (const layer of this.model.linears()) layer.observer = null
    for (const { ofPass } of this.#inputs.values()) ofPass.dispose()
  }
}
