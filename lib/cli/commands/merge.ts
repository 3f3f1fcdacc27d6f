import { MergeSchema } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { formatFacts, formatNumber } from '../format.js'
import { requireAdapter, requireFreeOutput, requireModel } from '../paths.js'

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
  async run(options, { log }) {
    const { loadModel } = await import('../../models/index.js')
    const { device, threads, output, dtype } = options
    // Sums are made in float32 and rounded once, when they are written.
    const model = await loadModel(options.model!, { device, threads, dtype: 'float32' })
    try {
      log(`merging ${options.adapter} into ${options.model}`)
      await model.loadAdapter(options.adapter!, 'merged')
      const { merged, maxAbsoluteChange } = await model.mergeAdapter('merged')
      await model.save(output!, { dtype: dtype === 'auto' ? undefined : dtype })
      const json = { output, merged, maxAbsoluteChange }
      const text = formatFacts([
        ['output', output!],
        ['merged layers', String(merged)],
        ['largest change of a weight', formatNumber(maxAbsoluteChange)],
      ])
      return { json, text }
    } finally {
      model.dispose()
    }
  },
})
