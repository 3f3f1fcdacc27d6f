import { UsageError } from '../../common/errors.js'
import { flagOf } from '../../common/option-names.js'
import { mapAhead } from '../../common/task-limit.js'
import type { Model } from '../../models/index.js'
import { forLibrary, GenerateSchema, type GenerateSettings, loadOptions } from '../../options/index.js'
import { findDataFiles } from '../../rows/files/data-files.js'
import { readRecords } from '../../rows/files/readers.js'
import { RowReading } from '../../rows/reading.js'
import type { DataRecord } from '../../rows/record.js'
import { type CommandContext, type CommandResult, defineCommand } from '../command.js'
import { requireInputs } from '../paths.js'
import { formatCount } from '../terminal/format.js'
import { isInteractive, writeAnswer } from '../terminal/terminal.js'

/** Number of rows that are generated at once. */
const AT_ONCE = 32

export const generateCommand = defineCommand({
  name: 'generate',
  summary: 'generate text, streamed, or for each row of a file; on a terminal, chat if there is no prompt',
  schema: GenerateSchema,
  examples: [
    'mora generate --model model --adapter out --prompt "How many legs have 3 cats?"',
    'mora generate --model model --prompts rows.jsonl --temperature 0.8 --n 4',
  ],
  check(options) {
    const { tools, templateOptions, raw, system } = options
    const unfit = Object.entries({ system, tools, templateOptions }).find(([, value]) => value !== undefined)
    if (raw && unfit) {
      throw new UsageError(
        'unfit-options',
        `--raw does not go with ${flagOf(unfit[0])}: without a template, it has no effect.`,
      )
    }
    if (options.prompts !== undefined && (options.prompt !== undefined || options.system !== undefined))
      throw new UsageError('unfit-options', '--prompts names a file of whole prompts: leave out --prompt and --system.')
    requireInputs(GenerateSchema, options)
  },
  async run(options, context) {
    const { adapter, allowOtherBase, prompt, prompts, json } = options
    if (prompt === undefined && prompts === undefined && (json || !isInteractive(context.terminal))) {
      throw new UsageError(
        'missing-option',
        'Missing --prompt; it is required where there is no terminal to chat on (mora chat reads a pipe).',
      )
    }
    const { loadModelFor } = await import('../../models/index.js')
    const load = { ...loadOptions(options), onWarning: context.note }
    using model = await loadModelFor({ adapter, allowOtherBase, passes: 'one token' }, options.model!, load)
    if (prompts !== undefined) return await answerRows(model, prompts, options, context)
    if (prompt !== undefined) return await answer(model, options, context)
    const { converse } = await import('../converse.js')
    await converse(model, { ...forLibrary(GenerateSchema, options), json }, context)
    return { json: undefined, text: '' }
  },
})

async function answer(
  model: Model,
  options: GenerateSettings,
  { terminal, log, note: onWarning }: CommandContext,
): Promise<CommandResult> {
  const { generate } = await import('../../generate/index.js')
  const onText = options.json ? undefined : (text: string) => writeAnswer(terminal.stdout, text)
  const { n = 1, ...call } = forLibrary(GenerateSchema, options)
  if (n > 1) return { json: await generate(model, { ...call, n, onWarning }), text: '' }
  const result = await generate(model, { ...call, onText, onWarning })
  if (options.json) return { json: result, text: '' }
  terminal.stdout.write('\n')
  log(`${result.newTokens} tokens, ${formatCount(result.tokensPerSecond)} tokens/s, ${result.finishReason}`)
  return { json: result, text: '' }
}

/** Writes a line of JSON for each row of a file: the result, or with `--n` the list of results. */
async function answerRows(
  model: Model,
  path: string,
  options: GenerateSettings,
  { terminal, note: onWarning }: CommandContext,
): Promise<CommandResult> {
  const { TextEngine } = await import('../../generate/index.js')
  const { n = 1, ...call } = forLibrary(GenerateSchema, options)
  const reading = new RowReading()
  const records = readRecords(await findDataFiles(path))
  await using engine = new TextEngine(model)
  const warn = once(onWarning)
  const written = (record: DataRecord) => {
    const { ids, ...row } = reading.prompt(record)
    const request = { ...call, ...row, ...(ids && { prompt: ids }), onWarning: warn }
    const samples = Array.from({ length: n }, (_, sample) => engine.generate(request, sample))
    return Promise.all(samples)
  }
  for await (const results of mapAhead(records, () => AT_ONCE - 1, written))
    terminal.stdout.write(`${JSON.stringify(n > 1 ? results : results[0])}\n`)
  return { json: undefined, text: '' }
}

/** Returns a function that passes each message on once. */
function once(say: (message: string) => void): (message: string) => void {
  const shown = new Set<string>()
  return (message) => {
    if (!shown.has(message)) say(message)
    shown.add(message)
  }
}
