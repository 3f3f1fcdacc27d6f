/** Writes a merged model, for `merge` and two formats of `export`. */

import type { EvalResult } from '../eval/index.js'
import { requireFreeOutput } from '../io/free-output.js'
import { checkWrittenForm, modelPath, outputFormat } from '../models/formats.js'
import type { MergeOptions } from '../options/index.js'
import type { CommandResult } from './command.js'
import { requirePath } from './paths.js'
import { formatFacts, formatNumber } from './terminal/format.js'
import { Progress } from './terminal/progress.js'
import type { Terminal } from './terminal/terminal.js'

/** Checks that the output can be written, before anything is read. */
export function checkMergeOutput(options: MergeOptions): void {
  const { model, adapter, output, overwrite, imatrix } = options
  const format = outputFormat(output!, options.format)
  const kind = format === 'gguf' ? 'file' : 'model'
  requireFreeOutput(kind, modelPath(output!, format), { inputs: [model, adapter, imatrix], overwrite })
  checkWrittenForm({ ...options, format }, { model: model ?? '', adapter })
  requirePath('imatrix', imatrix)
}

export async function runMerge(options: MergeOptions & { model: string }, terminal: Terminal): Promise<CommandResult> {
  const { mergeModel } = await import('../models/index.js')
  using progress = new Progress(terminal.stderr, { quiet: options.quiet })
  if (options.compare) await requireComparable(options)
  progress.note(options.adapter ? `merging ${options.adapter} into ${options.model}` : `converting ${options.model}`)
  const json = await mergeModel({
    ...options,
    output: options.output!,
    onWarning: progress.warn,
    onProgress: ({ done, total }) => progress.show(`${done}/${total} tensors`),
  })
  const change = options.compare && (await changeOf(options, json.output, progress))
  const text = formatFacts([
    ['output', json.output],
    ['merged weights', String(json.merged)],
    ['largest change of a weight', formatNumber(json.maxAbsoluteChange)],
    ...(change ? factsOf(change) : []),
  ])
  return { json: { ...json, ...(change && { change }) }, text }
}

/** Rejects rows that cannot be compared, before anything is written. */
async function requireComparable({ model, compare, offline }: MergeOptions & { model: string }): Promise<void> {
  const [{ ModelSource }, { requireTargets }, { loadTokenizer }] = await Promise.all([
    import('../models/index.js'),
    import('../eval/index.js'),
    import('../text/tokenizer.js'),
  ])
  const { path, config } = await ModelSource.open(model, { offline })
  const adapterSet = { activeNames: () => [], provenance: () => ({}) }
  await requireTargets({ path, config, tokenizer: await loadTokenizer(path), adapterSet }, compare!, { offline })
}

/** Measures the difference between predictions of the written model and of the base with the adapter, both in float32. */
async function changeOf(
  { model, adapter, compare, device, threads, allowTf32, allowOtherBase, offline }: MergeOptions & { model: string },
  output: string,
  progress: Progress,
): Promise<EvalResult<'change'>> {
  const [{ loadModel, loadModelFor }, { evaluate }] = await Promise.all([
    import('../models/index.js'),
    import('../eval/index.js'),
  ])
  const load = { device, threads, allowTf32, offline, dtype: 'float32', quantised: true } as const
  using before = await loadModelFor({ adapter, allowOtherBase }, model, load)
  using after = await loadModel(output, load)
  return await evaluate(after, {
    task: 'change',
    base: before,
    data: compare!,
    offline,
    onWarning: progress.warn,
    onProgress: ({ done, summary }) => progress.show(`compared ${done} rows  ${summary}`),
  })
}

function factsOf(change: EvalResult<'change'>): [string, string][] {
  const { before, after, meanAbsoluteChange, maxAbsoluteChange, klDivergence, sameTopTokens, targets } = change
  return [
    ['tokens compared', String(targets)],
    ['loss of adapter on base', formatNumber(before)],
    ['loss of the written model', formatNumber(after)],
    ['mean change of a log-probability', formatNumber(meanAbsoluteChange)],
    ['largest change of a log-probability', formatNumber(maxAbsoluteChange)],
    ['KL divergence', formatNumber(klDivergence)],
    ['same likeliest token', `${(100 * sameTopTokens).toFixed(2)} %`],
  ]
}
