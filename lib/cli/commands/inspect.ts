import { UsageError } from '../../common/errors.js'
import { flagOf } from '../../common/option-names.js'
import { checkNewAdapterOptions, type InspectOptions, InspectSchema } from '../../options/index.js'
import { newAdapterFields } from '../../options/new-adapter.js'
import { type CommandResult, defineCommand } from '../command.js'
import { requireInputs } from '../paths.js'
import { Progress, tokenisingLine } from '../terminal/progress.js'
import { hasColours } from '../terminal/terminal.js'

/** Number of rows that a terminal shows without `--limit`. */
const MOST_SHOWN = 5

/** Returns the first option that describes a new adapter. */
const newAdapterOption = (options: InspectOptions): string | undefined =>
  Object.keys(newAdapterFields).find((key) => options[key as keyof InspectOptions] !== undefined)

export const inspectCommand = defineCommand({
  name: 'inspect',
  summary:
    'describe a model, an adapter or data; with a model and data, the targets of each row; with a model and --method, the number of trained parameters',
  schema: InspectSchema,
  idle: ['device', 'threads', 'dtype', 'rotaryDtype', 'allowTf32', 'seed'],
  examples: [
    'mora inspect --model model',
    'mora inspect --model model --train',
    'mora inspect --model model --data train.jsonl --limit 3',
    'mora inspect --model model --data pairs.jsonl --objective dpo',
    'mora inspect --model model --method dora --match-parameters-of lora:8',
  ],
  check(options) {
    const { model, adapter, data } = options
    if (model === undefined && adapter === undefined && data === undefined) {
      throw new UsageError('missing-option', 'Nothing to inspect; give --model, --adapter or --data.')
    }
    const option = newAdapterOption(options)
    if (options.objective !== 'sft' && data === undefined) {
      throw new UsageError('missing-option', '--objective is about rows: give --data.')
    }
    if (options.train && model === undefined) {
      throw new UsageError('missing-option', '--train needs --model.')
    }
    if (options.train && (option !== undefined || data !== undefined)) {
      const other = flagOf(option ?? 'data')
      throw new UsageError('unfit-options', `--train is about a model itself, so it does not go with ${other}.`)
    }
    if (option !== undefined) {
      if (model === undefined) {
        throw new UsageError(
          'missing-option',
          'Counting the parameters of a new adapter needs the model: give --model.',
        )
      }
      if (adapter !== undefined || data !== undefined) {
        throw new UsageError(
          'unfit-options',
          `${flagOf(option)} describes a new adapter, so it does not go with --adapter or --data.`,
        )
      }
      checkNewAdapterOptions(options)
    }
    requireInputs(InspectSchema, options)
  },
  async run(options, { terminal, note: onWarning }): Promise<CommandResult> {
    const [{ describeModel, modelFacts }, { adapterFacts, describeAdapter }, { dataFacts, describeData }] =
      await Promise.all([import('../inspect/model.js'), import('../inspect/adapter.js'), import('../inspect/data.js')])
    if (options.model !== undefined && newAdapterOption(options) !== undefined) {
      const { describeNewAdapter, newAdapterFacts } = await import('../inspect/new-adapter.js')
      const facts = await newAdapterFacts(options.model, options, onWarning)
      return { json: facts, text: describeNewAdapter(facts) }
    }
    const model = options.model === undefined ? null : await modelFacts(options.model, { ...options, onWarning })
    const adapter = options.adapter === undefined ? null : await adapterFacts(options.adapter, options.model, options)
    if (options.data === undefined) {
      const texts = [model && describeModel(model), adapter && describeAdapter(adapter)]
      const json = adapter ? { ...adapter, ...(model && { model }) } : model
      return { json, text: texts.filter((text) => text !== null).join('\n\n') }
    }
    using progress = new Progress(terminal.stderr, options)
    const data = await dataFacts(options, {
      maxPositions: model?.maxLength,
      limit: options.limit,
      shown: options.json ? undefined : MOST_SHOWN,
      warn: (message) => progress.note(message),
      onProgress: tokenisingLine(progress),
    })
    progress.end()
    const text = options.json
      ? ''
      : await describeData(data, { colours: hasColours(terminal.stdout, terminal.environment) })
    const { rows, summary, sources } = data
    return { json: { rows, summary, sources, ...(adapter && { adapter }) }, text, isPrintable: true }
  },
})
