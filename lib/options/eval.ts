/** Options of `mora eval` and `evaluate()`. */
import { z } from 'zod'
import { choice, flag, integer, optionalChoice, optionalInteger, text } from '../schema/option.js'
import {
  declare,
  inGroup,
  type LibraryInput,
  optionFacts,
  required,
  requiredByCommands,
} from '../schema/option-facts.js'
import { ANSWER_TASKS, CHOICE_TASKS } from '../tasks/index.js'
import {
  commonOptionsOfLoaded,
  evaluationData,
  evaluationDataOption,
  limitOption,
  loadedForm,
  loadedOptions,
  MOST_ROWS,
  rowOptions,
  templateByTask,
  whereDecodingIsNotSlower,
} from './common.js'
import { constraintOptions } from './constraint.js'
import { GenerateSchema } from './generate.js'
import { samplingOptions } from './sampling.js'

export const TASKS = [
  'logprobs',
  'perplexity',
  'recall',
  'forgetting',
  'change',
  'classify',
  'reward',
  'embed',
  ...ANSWER_TASKS,
  ...CHOICE_TASKS,
] as const
/** A measurement of `evaluate`; docs/commands/eval.md describes each. */
export type Task = (typeof TASKS)[number]

const task = 'Of one task:'

const { system, stop, temperature, topP, topK } = GenerateSchema.shape

/** Options of `generate` for tasks that generate. */
export const writingOptions = inGroup('Tasks that generate:', {
  ...{ system, stop, temperature, topP, topK },
  ...samplingOptions,
  ...constraintOptions,
})

const rowsOfPass = z.int().min(1).max(MOST_ROWS)
const aBatchSize = z.union([
  rowsOfPass,
  z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number)
    .pipe(rowsOfPass),
])

export const EvalSchema = z.strictObject({
  ...loadedOptions,
  model: requiredByCommands(loadedOptions.model, 'predictions'),
  ...loadedForm(`for tasks that generate ${whereDecodingIsNotSlower}`),
  task: required(optionalChoice('what to measure', TASKS)),
  ...rowOptions,
  text: text(
    `${optionFacts(rowOptions.text).description}; forgetting: or the file to read, in place of --data`,
    'TEXT|FILE',
    {
      expects: 'a text with columns in braces, such as {question}',
    },
  ),
  template: templateByTask('auto; none for tasks whose published prompt is plain text'),
  data: required(evaluationDataOption('evaluation-data', 'test, else validation'), 'text'),
  limit: limitOption('rows (of a text, windows)'),
  batchSize: declare(z.union([z.literal('auto'), aBatchSize]).default('auto'), {
    kind: 'text',
    description: 'rows per forward pass, and sequences to generate at once; auto: 8 rows, and 32 sequences',
    placeholder: 'auto|N',
    expects: 'auto, or a whole number of at least 1',
  }),
  output: text('write a line of JSON per row to this file', 'FILE', { expects: 'the path of a file' }),
  details: flag('return a result for each row, in place of the number of rows', false, { group: task }),
  window: optionalInteger('perplexity, forgetting and change of a text: tokens per window', {
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
  maxNewTokens: optionalInteger('tasks that generate: maximum number of tokens in a completion', {
    min: 1,
    defaultText: '512 for gsm8k and math, 100 for ner and convfinqa, else 256',
    group: task,
  }),
  scorer: text('generate: a JavaScript or TypeScript file whose default export scores a text', 'FILE', {
    group: task,
    expects: 'the path of a file',
  }),
  predictions: text('tasks that generate: score the column text of this file, and use no model', 'FILE', {
    group: task,
    expects: 'the path of a file',
  }),
  score: choice('choices: compare the letters, or the whole choices', ['letter', 'text'], 'letter', { group: task }),
  shots: integer('tasks with questions: number of solved examples before each question', 0, {
    min: 0,
    group: task,
    needs: ['shotsData'],
  }),
  shotsData: evaluationData('rows to take the solved examples from', { group: task, hub: 'training-data' }),
  ...writingOptions,
  ...commonOptionsOfLoaded,
})

/** The options of `mora eval` with every default filled in. */
export type EvalOptions = z.output<typeof EvalSchema>
/** The options of `mora eval`, as the library takes them. */
export type EvalInput = LibraryInput<typeof EvalSchema>
