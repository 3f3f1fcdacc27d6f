/** Scores of texts by the head of a classifier or a reward model. */
import { z } from 'zod'
import { encodeRow } from '../batches/examples/encode.js'
import { type Document, exampleOf } from '../batches/examples/example.js'
import { packRows, passesOf } from '../batches/packing.js'
import { anObject, anyText, aSignal, aText, check, expecting, optionsSchema, wholeFrom } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { aModel } from '../generate/index.js'
import type { LoadedModel } from '../models/index.js'
import { lastScores } from '../objectives/objective.js'
import { RowReading } from '../rows/reading.js'
import { DEFAULT_MAX_LENGTH } from '../rows/row-choices.js'
import { resolveTemplate } from '../text/template.js'

/** Returns the names of the labels that the model's head scores. @throws UsageError `no-head` */
export function requireLabels({ labels }: LoadedModel): readonly string[] {
  if (labels) return labels
  throw new UsageError(
    'no-head',
    'The model has no head that scores texts: load one with it, or an adapter that trained one (the objective reward or classify).',
  )
}

/** @throws UsageError `no-head` for a model whose head does not give one score */
export function requireScore({ labels }: LoadedModel, what: string): void {
  if (labels?.length === 1) return
  throw new UsageError(
    'no-head',
    `${what} needs a head that gives one score (the objective reward trains one), and the model's has ${labels?.length ?? 'none'}.`,
  )
}

/** Yields the scores of each label, one row after the other; holds the rows of one forward pass only. */
export async function* scoredLast<Row extends Document>(
  model: LoadedModel,
  rows: AsyncIterable<Row> | Iterable<Row>,
  { batchSize, signal }: { batchSize: number; signal?: AbortSignal },
): AsyncGenerator<{ row: Row; scores: number[] }> {
  for await (const pass of passesOf(rows, batchSize)) {
    signal?.throwIfAborted()
    const batch = packRows(pass.map(exampleOf))
    using computed = await lastScores(model, batch, false)
    const values = (await computed.data()) as Float32Array
    const labels = values.length / pass.length
    for (const [i, row] of pass.entries()) yield { row, scores: [...values.subarray(i * labels, (i + 1) * labels)] }
  }
}

/** Options of `scoresOf`. */
export interface ScoresOptions {
  /** `auto` (the model's own, the default), `none`, or the path of a Jinja file. */
  template?: string
  /** Maximum number of tokens of a row; a longer one keeps its start. Default: 1024. */
  maxLength?: number
  /** Rows in a forward pass, at most. Default: 8. */
  batchSize?: number
  /** Aborting it ends the call before the next forward pass with its reason. */
  signal?: AbortSignal
}

const scoresOfArguments = {
  model: aModel,
  rows: expecting('a list of texts or rows', z.array(z.union([anyText, anObject]))),
  options: optionsSchema('the options of scoresOf', {
    template: aText.optional(),
    maxLength: wholeFrom(2).optional(),
    batchSize: wholeFrom(1).optional(),
    signal: aSignal.optional(),
  }),
}

/**
 * Returns the scores of texts for each of the model's labels, before any softmax; of a reward model one number each. A row is a text,
 * `{ prompt, completion }`, `{ messages }` or `{ prompt }`, and becomes tokens as in training.
 *
 * ```ts
 * import { loadModel, reward, scoresOf, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const data = [{ prompt: 'Say hello.', chosen: 'Hello!', rejected: 'No.' }]
 * await train(model, { objective: reward(), data, maxSteps: 2 }).finished
 * const [[score]] = await scoresOf(model, [{ prompt: 'Say hello.', completion: 'Good morning!' }])
 * ```
 *
 * @throws UsageError `no-head`; InputError of malformed rows
 */
export async function scoresOf(
  model: LoadedModel,
  rows: readonly (string | object)[],
  options: ScoresOptions = {},
): Promise<number[][]> {
  check({ model, rows, options }, scoresOfArguments)
  const all: number[][] = []
  for await (const { scores } of scoredTexts(model, rows, options)) all.push(scores)
  return all
}

/** Yields the scores of each row for each label, and its number of tokens. @throws what `scoresOf` throws */
export async function* scoredTexts(
  model: LoadedModel,
  rows: readonly (string | object)[],
  { template = 'auto', maxLength = DEFAULT_MAX_LENGTH, batchSize = 8, signal }: ScoresOptions = {},
): AsyncGenerator<{ tokens: number; scores: number[] }> {
  requireLabels(model)
  const { tokenizer } = model
  const how = {
    tokenizer,
    template: tokenizer ? await resolveTemplate(template, tokenizer) : null,
    maxLength,
    trainOn: 'completion',
    signal,
  } as const
  const reading = new RowReading({ rows: 'labelled', labels: [''] })
  const encoded = async function* () {
    for (const [i, row] of rows.entries()) {
      const where = `row ${i + 1}`
      const value = { ...(typeof row === 'string' ? { text: row } : row), label: 0 }
      const encoded = await encodeRow(reading.wanted({ value, where }), where, how)
      yield* encoded.rows.flatMap(({ documents }) => documents)
    }
  }
  for await (const { row, scores } of scoredLast(model, encoded(), { batchSize, ...(signal && { signal }) }))
    yield { tokens: row.ids.length, scores }
}
