import { ChatSchema, forLibrary, loadOptions } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { requireInputs } from '../paths.js'

export const chatCommand = defineCommand({
  name: 'chat',
  summary: 'talk with a model on a terminal, or answer the lines of a pipe',
  schema: ChatSchema,
  positional: ['model'],
  examples: ['mora chat model --adapter out', 'mora chat model --system "Answer in one sentence."'],
  check: (options) => requireInputs(ChatSchema, options),
  async run(options, context) {
    const { loadModelFor } = await import('../../models/index.js')
    const { converse } = await import('../converse.js')
    const { adapter, allowOtherBase } = options
    const load = { ...loadOptions(options), onWarning: context.note }
    using model = await loadModelFor({ adapter, allowOtherBase, passes: 'one token' }, options.model!, load)
    await converse(model, { ...forLibrary(ChatSchema, options), json: options.json }, context)
    return { json: undefined, text: '' }
  },
})
