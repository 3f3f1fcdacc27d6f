/** Options of `mora train` and `train()`. */
import { z } from 'zod'
import { newAdapterGroup as adapter } from '../adapters/contract/adapter-config.js'
import { loadFields, quantisedOption } from '../models/load-options.js'
import { BUILT_IN_OBJECTIVES, OBJECTIVES } from '../objectives/index.js'
import {
  choice,
  flag,
  integer,
  names,
  optionalChoice,
  optionalInteger,
  optionalReal,
  optionalSize,
  optionalText,
  real,
  text,
  texts,
} from '../schema/option.js'
import { commandLineOnly, type LibraryInput, required, requiredByCommands } from '../schema/option-facts.js'
import {
  adapterOptions,
  commonOptions,
  evaluationData,
  longRowsOption,
  MOST_ROWS,
  modelOption,
  rowOptions,
} from './common.js'
import { type Method, newAdapterFields, type OptionOfMethod, restartFields } from './new-adapter.js'
import { objectiveFields } from './objectives.js'

const objectivesHelp = BUILT_IN_OBJECTIVES.map(({ name, help }) => `${name} ${help}`).join(', ')

export const SCHEDULERS = ['constant', 'linear', 'cosine', 'cosine-restarts'] as const

/** Arithmetic of products with frozen weights in training. */
const COMPUTES = ['auto', 'int8'] as const

/** Parts of a model that ranks may shard. */
const SHARDS = ['base'] as const

const rate = 'Learning rate and AdamW:'
const steps = 'Steps and rows:'
const run = 'Run:'

/** The learning-rate schedule. */
const scheduleFields = {
  scheduler: optionalChoice('learning-rate schedule, by the formulas of Hugging Face', SCHEDULERS, {
    defaultText: 'cosine; cosine-restarts with --merge-every',
    group: rate,
  }),
  warmupSteps: integer('steps of linear warm-up', 0, { min: 0, group: rate }),
  warmupRatio: real('warm-up as a fraction of all steps', 0, { min: 0, max: 1, group: rate }),
  restartWarmupSteps: optionalInteger('steps of warm-up after each restart of cosine-restarts', {
    min: 0,
    defaultText: '50',
    group: rate,
  }),
  minLearningRateRatio: optionalReal('fraction of the peak at which the decay ends', {
    min: 0,
    max: 1,
    defaultText: '0; 0.1 with cosine-restarts',
    group: rate,
  }),
}
export const scheduleNames = Object.keys(scheduleFields) as (keyof typeof scheduleFields)[]

/**
 * Options that describe the adapter have no default in the schema, since with `adapter` they come from a file:
 * `newAdapterOptions` in defaults.ts fills them in for a new one.
 */
export const TrainSchema = z.strictObject({
  model: requiredByCommands(modelOption),
  data: required(rowOptions.data),
  dataWeight: commandLineOnly(
    optionalReal('sampling weight of the preceding --data (default 1)', {
      above: 0,
      weighs: 'data',
    }),
    'flags',
  ),
  output: requiredByCommands(
    text('folder to write the run to', 'O', { expects: 'the path of a folder', resume: 'free' }),
  ),

  ...newAdapterFields,
  ...adapterOptions,
  ...restartFields,
  init: text('train from scratch: random weights of this configuration; --model names the tokenizer', 'config.json', {
    expects: 'the path of a config.json',
    group: adapter,
  }),

  learningRate: optionalReal('peak learning rate', { above: 0, defaultText: 'by method, from the paper', group: rate }),
  ...scheduleFields,
  weightDecay: real('decoupled weight decay; never of norms and biases', 0, { min: 0, group: rate }),
  beta1: real('decay of the first moment', 0.9, { min: 0, below: 1, group: rate }),
  beta2: real('decay of the second moment', 0.999, { min: 0, below: 1, group: rate }),
  epsilon: real('added to the root of the second moment', 1e-8, { above: 0, group: rate }),
  maxGradNorm: real('clip the global gradient norm to this; 0 turns clipping off', 1, { min: 0, group: rate }),

  emaDecay: optionalReal(
    'also average the trained values over steps with this decay, and write them to the folder ema of --output',
    { above: 0, below: 1, defaultText: 'no average', group: rate, needs: ['output'] },
  ),

  objective: choice(`the loss to minimise: ${objectivesHelp}`, OBJECTIVES, 'sft', { group: steps }),
  ...objectiveFields,
  epochs: real('passes over the data', 1, { above: 0, group: steps, resume: 'free' }),
  maxSteps: optionalInteger('optimizer steps; overrides --epochs', { min: 1, group: steps }),
  batchSize: integer('rows per optimizer step', 8, { min: 1, max: MOST_ROWS, group: steps }),
  microBatchSize: optionalInteger('rows per forward pass; the result does not depend on it', {
    min: 1,
    defaultText: 'chosen to fit memory',
    group: steps,
    resume: 'rounding',
  }),
  memory: optionalSize("the run's memory budget: rows per forward pass are chosen to fit", {
    defaultText: "a part of the device's memory",
    group: steps,
    resume: 'rounding',
  }),
  maxLength: rowOptions.maxLength,
  longRows: longRowsOption,
  packing: flag('pack the rows of a step without padding', true, { group: steps, resume: 'rounding' }),
  shuffle: flag('draw rows in a new random order each epoch', true, { group: steps }),
  shuffleBuffer: optionalInteger(
    'read rows as steps need them, and draw each from a buffer of the next N; 0: read all rows first',
    {
      min: 0,
      defaultText: '10000 with --max-steps for files above 8 MiB and for - of more than 4 steps; else 0',
      group: steps,
      needs: ['maxSteps'],
    },
  ),
  neftuneAlpha: real('uniform noise on the embeddings in training, within ±X divided by √(tokens × hidden size)', 0, {
    min: 0,
    group: steps,
  }),
  trainOn: rowOptions.trainOn,
  template: rowOptions.template,
  text: rowOptions.text,
  columns: rowOptions.columns,
  ignoreColumns: rowOptions.ignoreColumns,
  extensions: rowOptions.extensions,
  tools: rowOptions.tools,
  templateOptions: rowOptions.templateOptions,
  profile: commandLineOnly(
    flag("print the time of each operation, compared with this machine's peaks", false, { group: run }),
  ),
  quantised: quantisedOption('if passes take at most 1.15 times as long'),
  quantise: loadFields.quantise,
  compute: choice(
    'arithmetic of products with frozen weights: int8 rounds to 8 bits, and is faster with VNNI',
    COMPUTES,
    'auto',
    {
      group: steps,
    },
  ),
  gradientCheckpointing: flag('recompute activations: slower, less memory', false, {
    group: steps,
    resume: 'rounding',
  }),

  shard: optionalChoice('under mpirun: shard the base over the ranks, each with a part of every matrix', SHARDS, {
    library: { description: 'shard the base over the ranks, each with a part of every matrix' },
    defaultText: 'each rank has the whole base',
    group: steps,
    resume: 'free',
  }),

  evalData: evaluationData('rows to evaluate on; for a hub id, its split validation, else test', {
    group: run,
    hub: 'validation-data',
    resume: 'free',
  }),
  evalEvery: optionalInteger('evaluate every N steps', {
    min: 1,
    defaultText: 'at the end',
    group: run,
    resume: 'free',
    needs: ['evalData'],
  }),
  saveEvery: optionalInteger('write a checkpoint every N steps', {
    min: 1,
    defaultText: 'at the end',
    group: run,
    resume: 'free',
    needs: ['output'],
  }),
  saveMinutes: real(
    'also write a checkpoint N minutes after the last one, replacing the previous checkpoint of this option; 0: never',
    10,
    { min: 0, placeholder: 'N', group: run, resume: 'free' },
  ),
  keepCheckpoints: optionalInteger('keep the newest N checkpoints; the checkpoint of --save-minutes does not count', {
    min: 1,
    defaultText: 'all',
    group: run,
    resume: 'free',
    needs: ['output'],
  }),
  keepBest: flag('keep the checkpoint with the lowest evaluation loss, and end the run with its values', false, {
    group: run,
    resume: 'free',
    needs: ['evalData', 'evalEvery', 'output'],
  }),
  patience: optionalInteger(
    'stop after N evaluations without an improvement, and end the run with the values of the best one',
    {
      min: 1,
      defaultText: 'never',
      group: run,
      resume: 'free',
      needs: ['evalData', 'evalEvery'],
    },
  ),
  samplePrompt: texts("write the model's answer to this prompt to samples.jsonl; a YAML file may list several", 'P', {
    expects: 'a non-empty text, or a list of them',
    library: { description: "write the model's answers to these prompts to samples.jsonl" },
    group: run,
    resume: 'free',
  }),
  sampleEvery: optionalInteger('answer --sample-prompt every N steps', {
    min: 1,
    defaultText: 'before the first step and at the end',
    group: run,
    resume: 'free',
    needs: ['samplePrompt'],
  }),
  tensorboard: flag('also write the metrics for TensorBoard, into the folder tensorboard of --output', false, {
    group: run,
    resume: 'free',
    needs: ['output'],
  }),
  resume: optionalText('continue the run in --output (or DIR) from its newest intact checkpoint', 'DIR', {
    library: {
      description: 'continue the run in --output, or in another folder, from its newest intact checkpoint',
      expects: 'true, false, or the path of a folder',
    },
    group: run,
    scope: 'call',
    needs: ['output'],
  }),
  rankTimeout: commandLineOnly(
    real('with several ranks: seconds until all ranks end after one is lost', 30, {
      min: 1,
      placeholder: 'S',
      group: run,
    }),
  ),
  allowChanges: names(
    'parts that may differ from the resumed run: names of options or of functions given as options, model, data, threads, or all',
    {
      group: run,
      scope: 'call',
      needs: ['resume'],
    },
  ),
  overwrite: flag('replace the run in --output', false, { group: run, scope: 'call', needs: ['output'] }),
  deterministic: flag(
    'refuse to resume a run whose bits would differ; equal seeds give equal bits with and without this option',
    false,
    {
      group: run,
      resume: 'free',
    },
  ),

  ...commonOptions,
})

/** The options of a run with every default filled in. */
export type TrainSettings = z.output<typeof TrainSchema>
/** The options of `mora train` as the library takes them, with the options of every method. */
export type TrainInput = LibraryInput<typeof TrainSchema>

/** Options of `train` that only some methods have; a call has the options of its method.
 *
 * @interface
 */
export type MethodOptions = Pick<TrainInput, OptionOfMethod>

/** A method's name, by default mora, and its own options. */
export type MethodInput = {
  [Name in Method]: MethodName<Name> & Pick<MethodOptions, OptionOfMethod<Name>>
}[Method]

type MethodName<Name extends Method> = Name extends 'mora'
  ? {
      /**
       * How to train: an adapter of this kind, or `full` for every weight.
       *
       * Default: mora; full for a model that was made by `initModel`.
       */
      method?: Name
    }
  : {
      /** How to train: an adapter of this kind, or `full` for every weight. */
      method: Name
    }
