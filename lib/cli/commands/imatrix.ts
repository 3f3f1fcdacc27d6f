import { requireFreeOutput } from '../../io/free-output.js'
import { forLibrary, ImatrixSchema, loadOptions } from '../../options/index.js'
import { pathsOf } from '../../rows/sources/source.js'
import { defineCommand } from '../command.js'
import { requireInputs } from '../paths.js'
import { formatFacts } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'

export const imatrixCommand = defineCommand({
  name: 'imatrix',
  summary: 'measure how important each column of the weights is, for quantising',
  schema: ImatrixSchema,
  idle: ['seed'],
  examples: [
    'mora imatrix --model model --data train.jsonl',
    'mora imatrix --model model --adapter out --data valid.txt --window 512 --output imatrix.gguf',
  ],
  check(options) {
    requireInputs(ImatrixSchema, options)
    const { model, data, output, overwrite } = options
    requireFreeOutput('file', output, { inputs: [model, ...pathsOf(data)], overwrite })
  },
  async run(options, { terminal, note: onWarning }) {
    const [{ loadModelFor }, { importanceMatrix }] = await Promise.all([
      import('../../models/index.js'),
      import('../../eval/index.js'),
    ])
    const { adapter, allowOtherBase } = options
    const load = { ...loadOptions(options), onWarning }
    using model = await loadModelFor({ adapter, allowOtherBase }, options.model!, load)
    using progress = new Progress(terminal.stderr, options)
    const result = await importanceMatrix(model, {
      ...forLibrary(ImatrixSchema, options),
      onWarning: progress.warn,
      onProgress: ({ done, total, summary }) =>
        progress.show(`${done}${total === null ? '' : `/${total}`}  ${summary}`),
    })
    const text = formatFacts([
      ['output', result.output],
      ['weights', String(result.weights)],
      ['tokens', String(result.tokens)],
    ])
    return { json: result, text }
  },
})
