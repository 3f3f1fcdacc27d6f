/** Options of every command, and options that several commands share. */

import { z } from 'zod'
import { everyCommand as group, loadFields, quantisedOption } from '../models/load-options.js'
import { MAX_THREADS } from '../native/addon.js'
import { COLUMN_NAMES } from '../rows/kinds/index.js'
import { DEFAULT_MAX_LENGTH, LONG_ROWS } from '../rows/row-choices.js'
import { type DataInput, type DataSource, sourcesOf } from '../rows/sources/source.js'
import { TEXT_TEMPLATE } from '../rows/text-template.js'
import {
  choice,
  fileOrList,
  flag,
  integer,
  names,
  optionalInteger,
  optionalObject,
  optionalPattern,
  text,
  textsByName,
  textsOr,
  textWithDefault,
} from '../schema/option.js'
import {
  commandLineOnly,
  type HubMeaning,
  type IsOfCommandLine,
  type OptionFacts,
  requiredByCommands,
} from '../schema/option-facts.js'

const { device, dtype, rotaryDtype, allowTf32, offline } = loadFields
const threads = optionalInteger('CPU threads', {
  min: 1,
  max: MAX_THREADS,
  defaultText: 'every core',
  group,
  resume: 'free',
})

export const commonOptions = {
  json: commandLineOnly(
    flag('print one JSON document, and nothing else, on stdout; logs go to stderr', false, { group }),
  ),
  device,
  threads,
  dtype,
  rotaryDtype,
  allowTf32,
  seed: integer('seed of every random stream', 42, {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    group,
    expects: 'a whole number of at least 0',
  }),
  config: commandLineOnly(
    text('read options from this file; flags win', 'FILE.yaml', { group, expects: 'the path of a YAML file' }),
    'flags',
  ),
  offline,
  quiet: commandLineOnly(flag('print no progress and no notices', false, { group })),
}

export const CommonOptionsSchema = z.strictObject(commonOptions)
export type CommonOptions = z.output<typeof CommonOptionsSchema>

export const whereDecodingIsNotSlower = 'on CPUs where decoding is not slower'

/** Picks a command's options for loading its model. */
export const loadOptions = <Options extends object>(options: Options) => pick(options, loadFields)

/** Returns the options that a shape declares. */
function pick<Options extends object, Shape extends object>(options: Options, shape: Shape) {
  const entries = Object.entries(options).filter(([name]) => Object.hasOwn(shape, name))
  return Object.fromEntries(entries) as Pick<Options, keyof Options & keyof Shape>
}

export const overwriteOutput = flag('replace a folder that is not empty, or a file', false, { scope: 'call' })

export const modelOption = text(
  'a folder with config.json and safetensors, a .gguf file, a hub id (owner/name), or ollama:NAME',
  'M',
  {
    expects: 'the path or hub id of a model, or ollama:NAME',
    hub: 'model',
    resume: 'free',
  },
)

export const adapterOption = text('a folder with adapter_config.json, such as the output of a run, or a hub id', 'A', {
  expects: 'the path of an adapter folder, or its hub id',
  hub: 'adapter',
  resume: 'free',
})

export const adapterOptions = {
  adapter: adapterOption,
  allowOtherBase: flag('use the adapter with another base model than it was trained on', false, {
    resume: 'free',
  }),
}

const filesOfRows =
  'rows: a file (JSON lines, JSON, CSV, TSV, Parquet or text, also compressed), a folder, - for stdin, or a hub id'

const isWhole = (source: DataSource): boolean =>
  typeof source === 'string' || (source.weight === undefined && !source.stop)

const rowsInLibrary =
  'rows: a file (JSON lines, JSON, CSV, TSV, Parquet or text, also compressed), a folder, - for the standard input, a hub id, or an iterable or async iterable of rows'

const readData =
  ({ weights }: { weights: boolean }) =>
  (value: unknown): DataSource[] | undefined => {
    const sources = sourcesOf(value)
    const fits = sources?.length && (weights || sources.every(isWhole))
    return fits ? sources : undefined
  }

/** Returns an option for rows without sampling weights, since each row is read once. */
export const evaluationData = (
  description: string,
  words: Partial<Pick<OptionFacts, 'hub' | 'group' | 'adds' | 'resume' | 'library'>>,
) =>
  textsOr<DataInput, DataSource[]>(description, 'D', readData({ weights: false }), {
    expects: 'a path, rows, or a list of these without weights',
    ...words,
  })

/** @param hub the split that a hub id without a split means */
export const evaluationDataOption = (hub: HubMeaning, split: string) =>
  evaluationData(`${filesOfRows} (owner/name:split, else ${split})`, {
    library: { description: `${rowsInLibrary}; of a hub id the split after a colon, else ${split}` },
    adds: true,
    hub,
    resume: 'free',
  })

/** Rows for comparing a written model with its source. */
export const compareOption = evaluationData(
  'rows on which the written model is compared with the adapter on its base, as mora eval --task change does',
  { adds: true, hub: 'evaluation-data' },
)

const trainingDataOption = textsOr<DataInput, DataSource[]>(
  `${filesOfRows} (owner/name:split, else train); a YAML file may list {path, weight, stop}`,
  'D',
  readData({ weights: true }),
  {
    expects: 'a path, rows, or a list of these or of {path, weight}',
    library: {
      description: `${rowsInLibrary}; of a hub id the split after a colon, else train; several are mixed by their weights`,
      expects: 'a path, rows, or a list of these or of { data, weight, stop }',
    },
    adds: true,
    hub: 'training-data',
    resume: 'free',
  },
)

/** Restricts options to the command line; `instead` returns advice for programs that give one. */
function onCommandLine<Options extends Record<string, z.ZodType>>(
  options: Options,
  instead?: (name: string) => string,
) {
  const entries = Object.entries(options).map(([name, option]) => [
    name,
    commandLineOnly(option, 'command-line', instead?.(name)),
  ])
  return Object.fromEntries(entries) as { [Name in keyof Options]: Options[Name] & IsOfCommandLine }
}

/** Restricts options for loading a model and its adapter to the command line: functions of the library take a loaded model. */
const ofLoading = <Options extends Record<string, z.ZodType>>(options: Options) =>
  onCommandLine(options, (name) =>
    Object.hasOwn(adapterOptions, name)
      ? 'load the adapter with model.loadAdapter, and choose it with the option adapters'
      : 'the model is loaded already: give the option to loadModel',
  )

/** The model and the adapter of a command that loads them for a function of the library. */
export const loadedOptions = ofLoading({ model: requiredByCommands(modelOption), ...adapterOptions })

/** Returns the options for quantising the model that a command loads. */
export const loadedForm = (...keptWhen: readonly string[]) =>
  ofLoading({ quantised: quantisedOption(...keptWhen), quantise: loadFields.quantise })

/** The common options of a command that loads the model of a function. */
export const commonOptionsOfLoaded = {
  ...commonOptions,
  ...ofLoading({ device, threads, dtype, rotaryDtype, allowTf32 }),
}
export const withoutHub = ofLoading({ offline })
export const withoutSeed = { seed: commandLineOnly(commonOptions.seed) }

/** The common options of a command whose function has none of them. */
export const commonOptionsOfCommand = {
  ...commonOptions,
  ...onCommandLine({ device, threads, dtype, rotaryDtype, allowTf32, offline }),
  ...withoutSeed,
}

/** Variables of a chat template beside the messages. */
export const contextOptions = {
  tools: fileOrList(
    'functions that the model may call: a JSON file with a list of their schemas; rows with their own tools keep them',
    {
      expects: 'the path of a JSON file',
      library: {
        description: 'schemas of functions that the model may call; rows with their own tools keep them',
        expects: 'a list of JSON schemas, or the path of a JSON file with one',
      },
    },
  ),
  templateOptions: optionalObject(
    'further variables of the chat template, such as {"enable_thinking": false}',
    ['messages', 'tools', 'add_generation_prompt'],
    {
      expects: 'a JSON object of variables other than messages, tools and add_generation_prompt',
      library: {
        description: 'further variables of the chat template, such as { enable_thinking: false }',
        expects: 'an object of variables other than messages, tools and add_generation_prompt',
      },
    },
  ),
}

/** Maximum number of rows of a step or a forward pass: longer lists take gigabytes by themselves. */
export const MOST_ROWS = 2 ** 20

const templateMeaning =
  "auto: the model's own; none: prompt and completion concatenated; or a file with a Jinja template"
const templateWords = { expects: 'auto, none, or the path of a file' }

/** The option `template` where the task decides its default. */
export const templateByTask = (defaultText: string) =>
  text(templateMeaning, 'auto|none|FILE', { ...templateWords, defaultText })

/** Options of reading and tokenising rows, the same in training, evaluation and inspection. */
export const rowOptions = {
  data: trainingDataOption,
  maxLength: optionalInteger('maximum number of tokens in a row', {
    min: 2,
    defaultText: `${DEFAULT_MAX_LENGTH}, or the model's limit if that is less`,
  }),
  template: textWithDefault(templateMeaning, 'auto|none|FILE', 'auto', templateWords),
  text: optionalPattern(
    'make each row a text of its columns, such as "Question: {query}\\nAnswer: {response}", and train all of it; {{ and }} are braces',
    'TEXT',
    TEXT_TEMPLATE,
    { expects: 'a text with columns in braces, such as {question}' },
  ),
  columns: textsByName(
    'columns by role, as prompt=query, separated by commas; a.b is the key b of the column a; by default the names of columns decide',
    COLUMN_NAMES,
    {
      placeholder: 'PART=COLUMN,…',
      expects: `parts with the names of columns, as prompt=query,completion=response; parts are ${COLUMN_NAMES.join(', ')}`,
      library: {
        description:
          'names of columns by role; a.b is the key b of the column a; by default the names of columns decide',
        expects: `names of columns by parts, as { prompt: 'query', completion: 'response' }; parts are ${COLUMN_NAMES.join(', ')}`,
      },
    },
  ),
  extensions: names(
    'extensions of the files to read in a folder, or all for every known text file (.txt, .md, .py, …); by default the data files, or the text files if there are none',
    {
      placeholder: '.A,.B',
      expects: 'endings with commas, such as .py,.md, or all',
      library: { expects: "a list of endings, such as ['.py', '.md'], or all" },
    },
  ),
  ignoreColumns: names('columns to ignore', {
    placeholder: 'A,B',
    expects: 'names of columns with commas',
    library: { expects: 'a list of names of columns' },
  }),
  ...contextOptions,
  trainOn: choice('which tokens to train in a row with a prompt', ['completion', 'all'], 'completion'),
}

/** The option `longRows` of commands that train rows or show their targets. */
export const longRowsOption = choice(
  'how to shorten a row (not a text) of more than --max-length tokens: keep-start and keep-end keep whole turns, split makes several rows, drop removes the row',
  LONG_ROWS,
  'keep-start',
)

const { data: _, maxLength: __, ...encoding } = { ...rowOptions, longRows: longRowsOption, offline }

/** Picks a command's options for turning rows into tokens, without `maxLength`, which depends on the model. */
export const encodingOptions = <Options extends object>(options: Options) => pick(options, encoding)

export const limitOption = (what: string) =>
  optionalInteger(`use the first N ${what} only`, { min: 1, defaultText: 'all' })
