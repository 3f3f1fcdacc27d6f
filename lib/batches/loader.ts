/** Batches for a custom training loop. */
import { z } from 'zod'
import {
  aFlag,
  aNumber,
  aText,
  badValue,
  check,
  custom,
  having,
  isListOfWholes,
  optionsSchema,
  wholeFrom,
} from '../common/arguments.js'
import { InputError, quoted, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { randomStream } from '../common/random.js'
import { isJsonObject } from '../io/json.js'
import { type ReadingOptions, readingKinds } from '../rows/reading.js'
import { aTokenizer, type Tokenizer } from '../text/tokenizer.js'
import type { Batch } from './batch.js'
import { Dataset, encodeOptions } from './dataset.js'
import { encodeRow } from './examples/encode.js'
import { countTargets, type Example, exampleOf } from './examples/example.js'
import type { RowSettings } from './examples/tokenise.js'
import { packRows } from './packing.js'
import { SampledRows, type StepRow, stepsOf } from './step-rows.js'
import { DEFAULT_SHUFFLE_BUFFER, FIRST_STEPS, shuffled } from './stream/shuffle-buffer.js'

/** Token ids with an optional mask (by default all are trained), weight and label, or a row in any form that a data file may have. */
export type LoaderRow =
  | {
      /** Token ids. */
      ids: ArrayLike<number>
      /** 1 for each trained token; default all. */
      mask?: ArrayLike<number>
      /** The factor of the row's loss, and of its part of the divisor; default 1. */
      weight?: number
      /** The value that an objective compares the row by, such as the number of its label; default 0. */
      label?: number
    }
  | object

/** Options of `DataLoader` for the order of rows and for batches. */
export interface LoaderOptions extends ReadingOptions {
  /** Rows of an optimizer step over all ranks, default 8. With one rank, the rows of a batch. */
  batchSize?: number
  /** This process's rank (`connectRanks`), default 0. A rank may get a batch without rows. */
  rank?: number
  /** The number of ranks, default 1. */
  size?: number
  /** The seed of the order, default 0. */
  seed?: number
  /** False pads every row to the longest of its batch. Default true. */
  packing?: boolean
  /** Whether rows are in random order; default true, except for a stream. */
  shuffle?: boolean
  /** Size of the buffer from which the next row of a stream is drawn, if `shuffle` is true. Default 10,000. */
  shuffleBuffer?: number
  /** Passes over the rows, default 1; a stream has only one. */
  epochs?: number
  /** The tokenizer of rows of text. */
  tokenizer?: Tokenizer | null
  /** Maximum number of tokens of a row of text, as in `loadDataset`. */
  maxLength?: number
  /** The chat template of rows of text, as in `loadDataset`: `auto` (default), `none`, or the path of a Jinja file. */
  template?: string
  /** Schemas of functions that the model may call, or the path of a JSON file, for conversations, as in `loadDataset`. */
  tools?: string | readonly unknown[]
  /** Variables of the template, such as `enable_thinking`, for conversations, as in `loadDataset`. */
  templateOptions?: Readonly<Record<string, unknown>>
  /** Whether prompts of rows of text are trained too, as in `loadDataset`. Default `completion`. */
  trainOn?: 'completion' | 'all'
  /** The position to continue from: the result of `state()`. */
  state?: LoaderState
}

/** The position of a `DataLoader`, to continue later: JSON. */
export interface LoaderState {
  /** Batches already yielded. */
  step: number
}

const someRows = custom(
  'a Dataset, a list of rows or a stream of them',
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    (value instanceof Dataset || Symbol.iterator in value || Symbol.asyncIterator in value),
)

const aState = optionsSchema('the state of DataLoader', { step: wholeFrom(0) })

const dataLoaderArguments = {
  rows: someRows,
  options: optionsSchema('the options of DataLoader', {
    rank: wholeFrom(0).optional(),
    size: wholeFrom(1).optional(),
    seed: wholeFrom(0).optional(),
    packing: aFlag.optional(),
    shuffle: aFlag.optional(),
    shuffleBuffer: wholeFrom(1).optional(),
    epochs: aNumber.optional(),
    tokenizer: aTokenizer.nullable().optional(),
    maxLength: wholeFrom(2).optional(),
    template: aText.optional(),
    ...readingKinds,
    trainOn: z.enum(['completion', 'all']).optional(),
    state: having('what state() returned', 'step').optional(),
  }),
}

/**
 * Iterates over batches in a seeded random order, with rows packed end to end. A new loop after the last epoch starts again.
 *
 * ```ts
 * import { DataLoader } from 'node-mora'
 *
 * const rows = [{ ids: [1, 2, 3] }, { ids: [4, 5, 6, 7] }]
 * for await (const batch of new DataLoader(rows, { batchSize: 2, seed: 1 })) {
 *   console.log(batch.ids.length, batch.targetTokens) // 7 5
 * }
 * ```
 */
export class DataLoader implements AsyncIterable<Batch> {
  #step: number
  readonly #batchSize: number
  readonly #rows: Dataset | readonly LoaderRow[] | Iterable<LoaderRow> | AsyncIterable<LoaderRow>
  readonly #options: LoaderOptions

  /** @throws UsageError for options that do not fit the rows */
  constructor(
    rows: Dataset | readonly LoaderRow[] | Iterable<LoaderRow> | AsyncIterable<LoaderRow>,
    options: LoaderOptions = {},
  ) {
    this.#rows = rows
    this.#options = options
    check({ rows, options }, dataLoaderArguments)
    const { rank = 0, size = 1 } = options
    if (rank >= size) throw badValue('rank', `a whole number from 0 to ${size - 1}`, rank)
    this.#step = options.state?.step ?? 0
    this.#batchSize = options.batchSize ?? 8
    if (!Number.isInteger(this.#batchSize) || this.#batchSize < 1) {
      throw new UsageError(
        'bad-option',
        `Expected a positive integer for ${optionName('batchSize')} but received ${quoted(options.batchSize)}.`,
      )
    }
    if (options.shuffleBuffer !== undefined && (isCounted(rows) || !options.shuffle)) {
      throw new UsageError(
        'bad-option',
        `${optionName('shuffleBuffer')} is for a stream with shuffle: true; all other rows are shuffled whole.`,
      )
    }
    if (isCounted(rows)) return
    if ((options.epochs ?? 1) !== 1) {
      throw new UsageError('bad-option', 'A stream has one epoch: collect its rows in an array for more.')
    }
  }

  /** Returns the loader's position, for the option `state` of another loader over the same rows. */
  state(): LoaderState {
    return { step: this.#step }
  }

  /** Moves the loader to a position that `state` of a loader over the same rows returned: the next loop begins there. */
  load(state: LoaderState): void {
    check({ state }, { state: aState })
    this.#step = state.step
  }

  /** Yields the remaining batches of `epochs` passes over the rows. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Batch> {
    const steps = isCounted(this.#rows)
      ? stepsOf(await this.#sampled(this.#rows), this.#step)
      : this.#streamed(this.#rows)
    for await (const rows of steps) {
      const batch = packRows(rows, this.#options.packing)
      this.#step++
      yield batch
    }
    this.#step = 0
  }

  async #sampled(rows: Dataset | readonly LoaderRow[]): Promise<SampledRows> {
    if (rows.length === 0) throw new InputError('empty-data', 'The data set has no row.')
    const { seed = 0, shuffle = true, epochs = 1, rank, size } = this.#options
    const order = { batchSize: this.#batchSize, seed, shuffle, epochs, rank, size }
    if (rows instanceof Dataset) return new SampledRows(rows, { ...order, parts: rows.parts })
    const example = await this.#examples()
    return new SampledRows({ length: rows.length, row: (index) => example(rows[index]!, index) }, order)
  }

  async *#streamed(rows: Iterable<LoaderRow> | AsyncIterable<LoaderRow>): AsyncGenerator<readonly StepRow[]> {
    const { rank = 0, size = 1, seed = 0, shuffle, shuffleBuffer = DEFAULT_SHUFFLE_BUFFER } = this.#options
    const example = await this.#examples()
    const first = this.#step * this.#batchSize
    const buffer = {
      size: shuffleBuffer,
      first: FIRST_STEPS * this.#batchSize,
      random: randomStream(seed, 'stream', 0, 0),
    }
    let place = 0
    let picked: StepRow[] = []
    for await (const { one, index } of shuffle ? shuffled(numbered(rows), buffer) : numbered(rows)) {
      const row = place % this.#batchSize
      if (place >= first && row % size === rank) picked.push({ ...(await example(one, index)), row })
      place++
      if (place <= first || row + 1 < this.#batchSize) continue
      yield picked
      picked = []
    }
    if (place > first && place % this.#batchSize > 0) yield picked
  }

  /** Returns a function that encodes a row. A text is one row here: it is refused if it exceeds `maxLength`. */
  async #examples(): Promise<(row: LoaderRow, index: number) => Promise<Example>> {
    const settings = await encodeOptions({ ...this.#options, tokenizer: this.#options.tokenizer ?? null })
    return (row, index) => exampleIn(row, `row ${index + 1}`, settings)
  }
}

async function* numbered<Row>(rows: Iterable<Row> | AsyncIterable<Row>): AsyncGenerator<{ one: Row; index: number }> {
  let index = 0
  for await (const one of rows) yield { one, index: index++ }
}

function isCounted(rows: unknown): rows is Dataset | readonly LoaderRow[] {
  return rows instanceof Dataset || Array.isArray(rows)
}

async function exampleIn(row: LoaderRow, where: string, settings: RowSettings): Promise<Example> {
  if (isJsonObject(row) && 'ids' in row) {
    const { ids, mask, weight, label } = row as {
      ids: ArrayLike<number>
      mask?: ArrayLike<number>
      weight?: number
      label?: number
    }
    for (const [name, values] of [
      ['ids', ids],
      ['mask', mask ?? []],
    ] as const) {
      if (isListOfWholes(values)) continue
      throw new InputError(
        'malformed-row',
        `${where}: ${name}: expected a list of whole numbers but received ${quoted(values)}.`,
      )
    }
    if (mask && mask.length !== ids.length) {
      throw new InputError(
        'malformed-row',
        `${where}: mask: expected ${ids.length} entries but received ${mask.length}.`,
      )
    }
    for (const [name, value, least] of [
      ['weight', weight, 0],
      ['label', label, Number.NEGATIVE_INFINITY],
    ] as const) {
      if (value === undefined || (Number.isFinite(value) && value >= least)) continue
      const expected = name === 'weight' ? 'a number of at least 0' : 'a number'
      throw new InputError('malformed-row', `${where}: ${name}: expected ${expected} but received ${quoted(value)}.`)
    }
    const document = {
      ids: Int32Array.from(ids),
      mask: mask ? Uint8Array.from(mask) : new Uint8Array(ids.length).fill(1),
    }
    return { ...exampleOf(document), ...(weight !== undefined && { weight }), ...(label !== undefined && { label }) }
  }
  const { rows, length } = await encodeRow(settings.reading.training({ value: row, where }), where, settings)
  if (rows.length === 0) {
    throw new InputError(
      'nothing-to-train',
      `${where}: no part of an answer is within ${optionName('maxLength')} ${settings.maxLength}; the whole row has ${length} tokens.`,
    )
  }
  if (rows.length > 1) {
    throw new InputError(
      'row-too-long',
      `${where}: its text has more than ${settings.maxLength} tokens; use loadDataset, which cuts it into several rows.`,
    )
  }
  if (countTargets(rows[0]!.documents) === 0)
    throw new InputError('nothing-to-train', `${where}: nothing in it is trained.`)
  return rows[0]!
}
