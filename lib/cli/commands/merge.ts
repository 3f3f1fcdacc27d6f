import { MergeSchema } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { checkMergeOutput, runMerge } from '../merged-output.js'
import { requireInputs } from '../paths.js'

export const mergeCommand = defineCommand({
  name: 'merge',
  summary: 'write a merged model that needs no adapter',
  schema: MergeSchema,
  idle: ['rotaryDtype', 'seed'],
  examples: [
    'mora merge --model SmolLM2-135M-Instruct.Q4_1.gguf --adapter out --output merged',
    'mora merge --model model --adapter out --output merged.gguf --dtype q8_0',
  ],
  check(options) {
    requireInputs(MergeSchema, options)
    checkMergeOutput(options)
  },
  run: (options, { terminal }) => runMerge({ ...options, model: options.model! }, terminal),
})
