import { UsageError } from '../../common/errors.js'
import { checkEvalOptions, EvalSchema, forLibrary, loadOptions } from '../../options/index.js'
import { ANSWER_TASKS } from '../../tasks/index.js'
import { defineCommand } from '../command.js'
import { requireFileOutput, requireInputs, requirePath } from '../paths.js'
import { formatFacts, formatNumber } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'

export const evalCommand = defineCommand({
  name: 'eval',
  summary: 'measure: perplexity, published benchmarks, texts scored by a function, recall, forgetting',
  schema: EvalSchema,
  examples: [
    'mora eval --model model --task perplexity --data valid.txt',
    'mora eval --model model --adapter out --task gsm8k --data test.jsonl --limit 200',
  ],
  check(options) {
    checkEvalOptions(options)
    const { task } = options
    const compares = task === 'forgetting' || task === 'change'
    if (compares && options.adapter === undefined && options.base === undefined) {
      throw new UsageError('missing-option', `Missing --adapter or --base: the task ${task} compares two models.`)
    }
    requireInputs(EvalSchema, options)
    if (options.data === undefined) requirePath('text', options.text)
    requirePath('scorer', options.scorer)
    requirePath('predictions', options.predictions)
    requireFileOutput('output', options.output)
  },
  async run(options, { terminal, note: onWarning }) {
    const [{ loadModel, loadModelFor }, { evaluate }] = await Promise.all([
      import('../../models/index.js'),
      import('../../eval/index.js'),
    ])
    const load = { ...loadOptions(options), onWarning }
    const { adapter, allowOtherBase, task, predictions } = options
    const generates = task === 'recall' || ANSWER_TASKS.some((name) => name === task)
    const passes = generates ? 'one token' : undefined
    using model =
      predictions === undefined ? await loadModelFor({ adapter, allowOtherBase, passes }, options.model!, load) : null
    using progress = new Progress(terminal.stderr, options)
    using base = options.base === undefined ? undefined : await loadModel(options.base, load)
    const result = await evaluate(model, {
      ...forLibrary(EvalSchema, options),
      base,
      onWarning: progress.warn,
      onProgress: ({ done, total, summary }) =>
        progress.show(`${done}${total === null ? '' : `/${total}`}  ${summary}`),
    })
    return { json: result, text: describe(result) }
  },
})

/** Formats figures by name; long lists are only counted, since `--json` and `--output` contain them. */
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
