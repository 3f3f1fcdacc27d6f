/** Writing a merged model: what `merge` and two formats of `export` do. */
import { checkWrittenForm, formatOf, type MergeOptions, modelPath } from '../options/index.js'
import type { OptionSource } from '../schema/names.js'
import type { CommandResult } from './command.js'
import { requireFreeFile, requireFreeOutput } from './paths.js'
import { formatFacts, formatNumber } from './terminal/format.js'
import { Progress } from './terminal/progress.js'
import type { Terminal } from './terminal/terminal.js'

/** Finds what stands in the way of the output before anything is read. */
export function checkMergeOutput(options: MergeOptions, source: OptionSource): void {
  const { model, adapter, output, overwrite } = options
  const format = formatOf(output!, options.format)
  const around = { inputs: [model, adapter], overwrite }
  if (format === 'gguf') requireFreeFile(modelPath(output!, format), around, source)
  else requireFreeOutput(output!, around, source)
  checkWrittenForm({ ...options, format }, source)
}

export async function runMerge(options: MergeOptions & { model: string }, terminal: Terminal): Promise<CommandResult> {
  const { mergeModel } = await import('../models/index.js')
  const {
    model,
    adapter,
    output,
    format,
    quiet,
    allowOtherBase,
    dtype,
    quantise,
    device,
    threads,
    allowTf32,
    offline,
  } = options
  const progress = new Progress(terminal.stderr, { quiet })
  try {
    progress.note(`merging ${adapter} into ${model}`)
    const json = await mergeModel({
      model,
      adapter: adapter!,
      output: output!,
      format,
      allowOtherBase,
      dtype,
      quantise,
      device,
      threads,
      allowTf32,
      offline,
      onProgress: ({ done, total }) => progress.show(`${done}/${total} tensors`),
    })
    const text = formatFacts([
      ['output', json.output],
      ['merged weights', String(json.merged)],
      ['largest change of a weight', formatNumber(json.maxAbsoluteChange)],
    ])
    return { json, text }
  } finally {
    progress.end()
  }
}
