/** Options of `mora imatrix` and `importanceMatrix()`. */
import { z } from 'zod'
import { integer, optionalInteger, textWithDefault } from '../schema/option.js'
import { type LibraryInput, required } from '../schema/option-facts.js'
import {
  commonOptionsOfLoaded,
  contextOptions,
  evaluationDataOption,
  limitOption,
  loadedForm,
  loadedOptions,
  MOST_ROWS,
  overwriteOutput,
  rowOptions,
  withoutSeed,
} from './common.js'

const { maxLength, template, text, columns, ignoreColumns } = rowOptions

export const ImatrixSchema = z.strictObject({
  ...loadedOptions,
  quantised: loadedForm().quantised,
  data: required(evaluationDataOption('evaluation-data', 'test, else validation')),
  limit: limitOption('rows (of a text, windows)'),
  batchSize: integer('rows per forward pass', 8, { min: 1, max: MOST_ROWS }),
  window: optionalInteger('tokens per window of a text', { min: 2, defaultText: '--max-length' }),
  maxLength,
  template,
  text,
  columns,
  ignoreColumns,
  ...contextOptions,
  output: textWithDefault('file to write', 'FILE', 'imatrix.gguf', { expects: 'the path of a file' }),
  overwrite: overwriteOutput,
  ...commonOptionsOfLoaded,
  ...withoutSeed,
})

/** The options of `mora imatrix`, as the library takes them. */
export type ImatrixInput = LibraryInput<typeof ImatrixSchema>
