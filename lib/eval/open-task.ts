import { UsageError } from '../common/errors.js'
import { TextTemplate } from '../data/rows/text-template.js'
import { resolveTools } from '../data/rows/tools.js'
import { openSources } from '../data/sources/open.js'
import { promptTemplate } from '../generate/index.js'
import type { HubOptions } from '../hub/index.js'
import { type EvalOptions, maxLengthOf } from '../options/index.js'
import type { RowReader, RowsContext } from './task.js'

/** What a task reads, and how rows become tokens. */
export async function openTask<Model extends RowReader>(
  model: Model,
  options: EvalOptions,
  hub: HubOptions,
): Promise<Omit<RowsContext, 'truncated'> & { model: Model }> {
  const data = await openSources(options.data!, { purpose: 'evaluation', ...hub })
  const shotsData = options.shotsData && (await openSources(options.shotsData, hub))
  return {
    model,
    signal: hub.signal,
    options,
    data,
    shotsData,
    text: options.text === undefined ? null : new TextTemplate(options.text),
    templateContext: { tools: await resolveTools(options.tools), templateOptions: options.templateOptions },
    template: model.tokenizer ? await promptTemplate(model, options, hub.onWarning ?? (() => {})) : null,
    maxLength: rowLimit(options, model.config.maxPositions),
  }
}

function rowLimit({ maxLength }: EvalOptions, maxPositions: number): number {
  if (maxLength === undefined || maxLength <= maxPositions) return maxLengthOf(maxLength, maxPositions)
  throw new UsageError('bad-value', `maxLength ${maxLength} exceeds the model's ${maxPositions} positions.`)
}
