import { UsageError } from '../../common/errors.js'
import { checkEvalOptions, EvalSchema, forLibrary, loadOptions } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { requireFileOutput, requireInputs } from '../paths.js'
import { formatFacts, formatNumber } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'

export const evalCommand = defineCommand({
  name: 'eval',
  summary: 'measure: log-probabilities, perplexity, exact answers, multiple choice, recall, forgetting, change',
  schema: EvalSchema,
  idle: ['seed'],
  examples: [
    'mora eval --model model --task perplexity --data valid.txt',
    'mora eval --model model --adapter out --task exact-match --data test.jsonl --limit 200',
  ],
  check(options) {
    checkEvalOptions(options, 'flags')
    const { task } = options
    const compares = task === 'forgetting' || task === 'change'
    if (compares && options.adapter === undefined && options.base === undefined) {
      throw new UsageError('missing-option', `Missing --adapter or --base: the task ${task} compares two models.`)
    }
    requireInputs(EvalSchema, options)
    requireFileOutput('output', options.output)
  },
  async run(options, { terminal, note: onWarning }) {
    const [{ loadModel, loadModelFor }, { evaluate }] = await Promise.all([
      import('../../models/index.js'),
      import('../../eval/index.js'),
    ])
    const load = { ...loadOptions(options), onWarning }
    const { adapter, allowOtherBase, task } = options
    const passes = task === 'exact-match' || task === 'recall' ? 'one token' : undefined
    using model = await loadModelFor({ adapter, allowOtherBase, passes }, options.model!, load)
    using progress = new Progress(terminal.stderr, options)
    using base = options.base === undefined ? undefined : await loadModel(options.base, load)
    const result = await evaluate(model, {
      ...forLibrary(EvalSchema, options),
      base,
      onWarning: progress.warn,
      onProgress: ({ done, total, summary }) =>
        progress.show(`${done}${total === null ? '' : `/${total}`}  ${summary}`),
    })
    return { json: result, text: describe(result as unknown as Record<string, unknown>) }
  },
})

/** Formats figures by name; long lists are only counted, since `--json` and `--output` have them whole. */
function describe(result: object): string {
  return formatFacts(
    Object.entries(result).flatMap(([name, value]: [string, unknown]): [string, string][] => {
      if (typeof value === 'number') return [[name, Number.isInteger(value) ? String(value) : formatNumber(value)]]
      if (Array.isArray(value)) return [[name, String(value.length)]]
      if (typeof value === 'object' && value !== null) {
        return Object.entries(value).map(([key, figure]) => [`${name} ${key}`, formatNumber(figure as number)])
      }
      return [[name, String(value)]]
    }),
  )
}
