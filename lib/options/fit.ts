/** Options of `mora fit` and `fit()`: those of training that change memory, time or disk. */
import { z } from 'zod'
import { flag, text } from '../schema/option.js'
import { type LibraryInput, requiredByCommands } from '../schema/option-facts.js'
import { adapterOptions, commonOptions, longRowsOption, modelOption, rowOptions } from './common.js'
import { newAdapterFields, restartFields } from './new-adapter.js'
import { objectiveFields } from './objectives.js'
import { TrainSchema } from './train.js'

const { shape } = TrainSchema

export const FitSchema = z.strictObject({
  model: requiredByCommands(modelOption),
  ...newAdapterFields,
  ...adapterOptions,
  ...restartFields,
  init: shape.init,
  objective: shape.objective,
  ...objectiveFields,
  batchSize: shape.batchSize,
  microBatchSize: shape.microBatchSize,
  memory: shape.memory,
  ...rowOptions,
  longRows: longRowsOption,
  epochs: shape.epochs,
  maxSteps: shape.maxSteps,
  saveEvery: shape.saveEvery,
  keepCheckpoints: shape.keepCheckpoints,
  packing: shape.packing,
  neftuneAlpha: shape.neftuneAlpha,
  emaDecay: shape.emaDecay,
  maxGradNorm: shape.maxGradNorm,
  compute: shape.compute,
  gradientCheckpointing: shape.gradientCheckpointing,
  quantised: shape.quantised,
  quantise: shape.quantise,
  output: text('the folder that a run would be written to, whose free space counts', 'O', {
    expects: 'the path of a folder',
    defaultText: 'this folder',
  }),
  trial: flag('measure the time of a step: about ten seconds', true),
  ...commonOptions,
})

export type FitInput = LibraryInput<typeof FitSchema>
