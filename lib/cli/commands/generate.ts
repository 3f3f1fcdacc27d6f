import { UsageError } from '../../common/errors.js'
import type { Model } from '../../models/index.js'
import { forLibrary, GenerateSchema, type GenerateSettings, loadOptions } from '../../options/index.js'
import { flagOf } from '../../schema/names.js'
import { type CommandContext, type CommandResult, defineCommand } from '../command.js'
import { requireInputs } from '../paths.js'
import { formatCount } from '../terminal/format.js'
import { writeAnswer } from '../terminal/terminal.js'

export const generateCommand = defineCommand({
  name: 'generate',
  summary: 'write text, streamed; a chat when there is no prompt, on a terminal',
  schema: GenerateSchema,
  examples: [
    'mora generate --model model --adapter out --prompt "How many legs have 3 cats?"',
    'mora generate --model model --adapter out',
  ],
  check(options) {
    const { tools, templateOptions, raw, system } = options
    const unfit = Object.entries({ system, tools, templateOptions }).find(([, value]) => value !== undefined)
    if (raw && unfit) {
      throw new UsageError(
        'unfit-options',
        `--raw does not go with ${flagOf(unfit[0])}: without a template it means nothing.`,
      )
    }
    requireInputs(GenerateSchema, options)
  },
  async run(options, context) {
    const { prompt, json } = options
    const isTerminal = context.terminal.stdin.isTTY === true && context.terminal.stdout.isTTY === true
    if (prompt === undefined && (json || !isTerminal)) {
      throw new UsageError('missing-option', 'Missing --prompt; it is required where there is no terminal to chat on.')
    }
    const { loadModelFor } = await import('../../models/index.js')
    const { adapter, allowOtherBase } = options
    const load = { ...loadOptions(options), onWarning: context.note }
    using model = await loadModelFor({ adapter, allowOtherBase, passes: 'one token' }, options.model!, load)
    if (prompt !== undefined) return await answer(model, options, context)
    const { converse } = await import('../converse.js')
    await converse(model, options, context)
    return { json: null, text: '' }
  },
})

async function answer(
  model: Model,
  options: GenerateSettings,
  { terminal, log, note: onWarning }: CommandContext,
): Promise<CommandResult> {
  const { generate } = await import('../../generate/index.js')
  const onText = options.json ? undefined : (text: string) => writeAnswer(terminal.stdout, text)
  const result = await generate(model, { ...forLibrary(GenerateSchema, options), onText, onWarning })
  if (options.json) return { json: result, text: '' }
  terminal.stdout.write('\n')
  log(`${result.newTokens} tokens, ${formatCount(result.tokensPerSecond)} tokens/s, ${result.finishReason}`)
  return { json: result, text: '' }
}
