import { MergeSchema } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { formatFacts, formatNumber } from '../format.js'
import { requireAdapter, requireFreeOutput, requireModel } from '../paths.js'
import { Progress } from '../progress.js'

export const mergeCommand = defineCommand({
  name: 'merge',
  summary: 'write a merged model that needs no adapter',
  schema: MergeSchema,
  required: ['model', 'adapter', 'output'],
  examples: ['mora merge --model SmolLM2-135M-Instruct.Q4_1.gguf --adapter out --output merged'],
  check({ model, adapter, output, overwrite }, source) {
    requireModel(model, source)
    requireAdapter(adapter, source)
    requireFreeOutput(output!, { inputs: [model, adapter], overwrite }, source)
  },
  async run({ model, adapter, output, quiet, ...options }, { terminal }) {
    const { allowOtherBase, dtype, device, threads, allowTf32 } = options
    const { mergeModel } = await import('../../models/index.js')
    const progress = new Progress(terminal.stderr, { quiet })
    try {
      progress.note(`merging ${adapter} into ${model}`)
      const { merged, maxAbsoluteChange } = await mergeModel({
        ...{ model: model!, adapter: adapter!, output: output!, allowOtherBase, dtype, device, threads, allowTf32 },
        onProgress: ({ done, total }) => progress.show(`${done}/${total} tensors`),
      })
      const json = { output, merged, maxAbsoluteChange }
      const text = formatFacts([
        ['output', output!],
        ['merged weights', String(merged)],
        ['largest change of a weight', formatNumber(maxAbsoluteChange)],
      ])
      return { json, text }
    } finally {
      progress.end()
    }
  },
})
