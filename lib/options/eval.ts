/** Options of `mora eval` and `evaluate()`. */
import { z } from 'zod'
import { choice, integer, optionalChoice, optionalInteger, text } from '../schema/option.js'
import { type LibraryInput, required } from '../schema/option-facts.js'
import {
  commonOptionsOfLoaded,
  evaluationData,
  evaluationDataOption,
  limitOption,
  loadedForm,
  loadedOptions,
  MOST_ROWS,
  rowOptions,
  whereDecodingIsNotSlower,
  withoutSeed,
} from './common.js'

export const TASKS = ['logprobs', 'perplexity', 'exact-match', 'choices', 'recall', 'forgetting', 'change'] as const
/** What `evaluate` can measure; docs/commands/eval.md describes each. */
export type Task = (typeof TASKS)[number]

const task = 'Of one task:'

export const EvalSchema = z.strictObject({
  ...loadedOptions,
  ...loadedForm(`for exact-match and recall ${whereDecodingIsNotSlower}`),
  task: required(optionalChoice('what to measure', TASKS)),
  ...rowOptions,
  data: required(evaluationDataOption('evaluation-data', 'test, else validation')),
  limit: limitOption('rows (of a text, windows)'),
  batchSize: integer('rows per forward pass', 8, { min: 1, max: MOST_ROWS }),
  output: text('write a line of JSON per row to this file', 'FILE', { expects: 'the path of a file' }),
  window: optionalInteger('perplexity, forgetting and change of a text: tokens of a window', {
    min: 2,
    defaultText: '--max-length',
    group: task,
  }),
  stride: optionalInteger('perplexity, forgetting and change of a text: tokens from one window to the next', {
    min: 1,
    defaultText: '--window',
    group: task,
  }),
  base: text('forgetting and change: the model before training, if more than an adapter has changed it', 'M', {
    group: task,
    expects: 'the path or hub id of a model',
    hub: 'model',
  }),
  maxNewTokens: integer('exact-match: most tokens to generate', 256, { min: 1, group: task }),
  score: choice('choices: compare the letters, or the whole choices', ['letter', 'text'], 'letter', { group: task }),
  shots: integer('choices: solved examples before each question', 0, {
    min: 0,
    group: task,
    needs: ['shotsData'],
  }),
  shotsData: evaluationData('choices: rows that the examples are taken from', { group: task, hub: 'training-data' }),
  ...commonOptionsOfLoaded,
  ...withoutSeed,
})

/** The options of `mora eval` with every default filled in. */
export type EvalOptions = z.output<typeof EvalSchema>
/** The options of `mora eval`, as the library takes them. */
export type EvalInput = LibraryInput<typeof EvalSchema>
