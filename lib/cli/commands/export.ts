import { UsageError } from '../../common/errors.js'
import { flagOf } from '../../common/option-names.js'
import { requireFreeOutput } from '../../io/free-output.js'
import { isMixture } from '../../models/formats.js'
import { type ExportOptions, ExportSchema } from '../../options/index.js'
import { pathsOf } from '../../rows/sources/source.js'
import { type CommandContext, type CommandResult, defineCommand } from '../command.js'
import { fetchBase } from '../hub-files.js'
import { checkMergeOutput, runMerge } from '../merged-output.js'
import { requireInputs } from '../paths.js'
import { formatFacts, formatNumber } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'

export const exportCommand = defineCommand({
  name: 'export',
  summary: 'write an adapter as a LoRA for other programs, or as a merged model',
  schema: ExportSchema,
  idle: ['rotaryDtype', 'seed'],
  examples: [
    'mora export --model model --adapter out --format peft --output lora',
    'mora export --model model --adapter out --format gguf-lora --output lora.gguf --approximate-rank 64',
  ],
  check(options) {
    requireInputs(ExportSchema, options)
    const { model, adapter, format, output, overwrite } = options
    const around = { inputs: [model, adapter], overwrite }
    if (format === 'peft') requireFreeOutput('adapter', output!, around)
    else if (format === 'gguf-lora') requireFreeOutput('file', output!, around)
    else checkMergeOutput({ ...options, format })
    checkFormat(options)
  },
  async run(options, context) {
    const model = options.model ?? (await fetchBase(options.adapter!, options, context.terminal))
    const { format } = options
    if (format === 'peft' || format === 'gguf-lora') return runExport({ ...options, model, format }, context)
    return runMerge({ ...options, model, format }, context.terminal)
  },
})

function checkFormat({ format, dtype, quantise, imatrix, compare, approximateRank, force }: ExportOptions): void {
  const isLora = format === 'peft' || format === 'gguf-lora'
  const refuse = (option: string, value: unknown, why: string) => {
    throw new UsageError('unfit-options', `${flagOf(option)} ${value} does not go with --format ${format}: ${why}.`)
  }
  if (!isLora && approximateRank !== undefined) refuse('approximateRank', approximateRank, 'a merged model is exact')
  if (force && approximateRank === undefined) {
    throw new UsageError('unfit-options', '--force needs --approximate-rank: without it an export is exact.')
  }
  if (isLora && isMixture(dtype)) refuse('dtype', dtype, 'a LoRA has floats')
  if (isLora && quantise !== undefined) refuse('quantise', quantise, 'a LoRA has floats')
  if (isLora && imatrix !== undefined) refuse('imatrix', imatrix, 'a LoRA has floats')
  if (isLora && compare) refuse('compare', pathsOf(compare).join(' '), 'it compares a merged model')
  if (format === 'peft' && dtype !== 'auto' && dtype !== 'float32') refuse('dtype', dtype, 'it is written in float32')
}

type LoraExport = ExportOptions & { model: string; format: 'peft' | 'gguf-lora' }

async function runExport(options: LoraExport, { terminal }: CommandContext): Promise<CommandResult> {
  const { exportAdapter, LARGEST_ERROR } = await import('../../models/index.js')
  const { model, adapter, output, format, dtype, approximateRank, force, overwrite } = options
  const { allowOtherBase, threads, quiet, offline } = options
  using progress = new Progress(terminal.stderr, { quiet })
  const result = await exportAdapter({
    model,
    adapter: adapter!,
    output: output!,
    format,
    approximateRank,
    force,
    overwrite,
    allowOtherBase,
    threads,
    offline,
    onWarning: progress.warn,
    ...(dtype !== 'auto' && !isMixture(dtype) && { dtype }),
    onProgress: ({ done, total }) => progress.show(`${done}/${total} layers`),
  })
  const worst = result.layerErrors.reduce((a, b) => (b.relativeError > a.relativeError ? b : a))
  const text = formatFacts([
    ['output', output!],
    ['layers', String(result.layers)],
    ['rank', String(result.rank)],
    ['relative error', result.exact ? 'none: exact' : formatNumber(result.relativeError)],
    ...(result.exact
      ? []
      : [['largest of a layer', `${formatNumber(worst.relativeError)} (${worst.name})`] as [string, string]]),
  ])
  const isAnother = result.relativeError > LARGEST_ERROR
  const warning = `This is another adapter: it leaves out ${formatNumber(result.relativeError)} of the given adapter's ΔW.`
  return { json: { output, format, ...result }, text: isAnother ? `${text}\n\n${warning}` : text }
}
