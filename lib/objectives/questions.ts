/** Rows of prompts, which the model answers in training. */
import { createHash } from 'node:crypto'
import { type DatasetOptions, encodeOptions } from '../batches/dataset.js'
import { checkIds } from '../batches/examples/encode.js'
import type { Document } from '../batches/examples/example.js'
import { InputError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import { RowReading } from '../rows/reading.js'
import { chosenRecord } from '../rows/row-choices.js'
import { namesOf, openSources } from '../rows/sources/open.js'
import type { AnyRow, DataSource } from '../rows/sources/source.js'
import { encodePrompt, turnsOfPrompt } from '../text/prompt.js'
import type { ChatTemplate, Message, TemplateContext } from '../text/template.js'
import { textsOf } from '../text/templates/messages.js'
import type { ObjectiveRows } from './objective.js'
import { besideOthers, requirePrintedTools, type Tools } from './tools.js'

/** A prompt that the model answers. */
export interface Question extends Document {
  /** The factor of the loss of its answers; default 1. */
  readonly weight?: number
  /** The prompt as the row has it; of a conversation, its last message's text. */
  readonly prompt: string
  /** The prompt as a conversation; null if no template is in use. */
  readonly messages: readonly Message[] | null
  /** All columns of the row. */
  readonly row: AnyRow
  readonly template: ChatTemplate | null
  readonly context: TemplateContext
}

/** Options of reading rows of prompts. */
interface QuestionOptions {
  readonly maxNewTokens: number
  /** Functions that the model may call. */
  readonly tools?: Tools
}

/**
 * Reads prompts, in any form that `mora generate` reads. Prompts that leave no room for an answer of `maxNewTokens` within
 * `maxLength` are left out.
 * @throws InputError `malformed-row`; `empty-data` if none is left
 */
export async function loadQuestions(
  source: readonly DataSource[],
  options: DatasetOptions & { signal?: AbortSignal },
  { maxNewTokens, tools = {} }: QuestionOptions,
): Promise<ObjectiveRows> {
  const { tokenizer, onWarning, vocabularySize = Number.POSITIVE_INFINITY, signal } = options
  const { template, context, maxLength, map, filter } = await encodeOptions(options)
  requirePrintedTools(tools, template)
  const reading = new RowReading({ columns: options.columns, ignoreColumns: options.ignoreColumns })
  if (!tokenizer) throw new InputError('no-tokenizer', 'Answers to prompts need a tokenizer, and the model has none.')
  const sources = await openSources(source, options)
  const questions: Question[] = []
  const parts: ObjectiveRows['parts'][number][] = []
  const hash = createHash('sha256')
  let [tooLong, withoutTools] = [0, 0]
  for (const one of sources) {
    const before = questions.length
    for await (const record of one.records()) {
      signal?.throwIfAborted()
      const chosen = await chosenRecord(record, { map, filter })
      if (!chosen) continue
      const { weight, ...asked } = reading.weighedPrompt(chosen)
      if (weight === 0) continue
      const shown = besideOthers(asked.tools ?? context?.tools ?? [], tools)
      if (shown.length > 0 && !template?.readsTools) withoutTools++
      const own: TemplateContext = {
        tools: shown.length > 0 ? shown : null,
        templateOptions: { ...context?.templateOptions, ...asked.templateOptions },
      }
      const ids = Int32Array.from(await encodePrompt(tokenizer, template, { ...asked, ...own }, signal))
      checkIds(ids, vocabularySize, chosen.where)
      if (ids.length === 0) throw new InputError('malformed-row', `${chosen.where}: the prompt has no tokens.`)
      if (ids.length + maxNewTokens > maxLength) {
        tooLong++
        continue
      }
      const row = chosen.value as Question['row']
      hash.update(ids).update(JSON.stringify(row))
      questions.push({
        ids,
        mask: new Uint8Array(ids.length),
        ...(weight !== undefined && { weight }),
        prompt: asked.prompt ?? textsOf(asked.messages!.at(-1)!).join(''),
        messages: template && turnsOfPrompt(asked),
        row,
        template,
        context: own,
      })
    }
    parts.push({ rows: questions.length - before, weight: one.weight, source: one.recorded() })
  }
  if (tooLong > 0)
    onWarning?.(
      `${namesOf(sources)}: ${tooLong} prompts are left out: with an answer of ${maxNewTokens} tokens (${optionName('maxNewTokens')}) they are longer than ${maxLength} tokens (${optionName('maxLength')}).`,
    )
  if (withoutTools > 0)
    onWarning?.(
      `${namesOf(sources)}: the chat template shows nothing of the tools of ${withoutTools} prompts; name a template that knows tools (${theOption('template')}).`,
    )
  if (reading.ignoredNote !== null) onWarning?.(`${namesOf(sources)}: ${reading.ignoredNote}`)
  if (questions.length === 0) throw new InputError('empty-data', `${namesOf(sources)}: there is no prompt to answer.`)
  const tokens = questions.reduce((sum, { ids }) => sum + ids.length + maxNewTokens, 0)
  return {
    length: questions.length,
    rowLength: (index) => questions[index]!.ids.length + maxNewTokens,
    row: (index) => ({ documents: [questions[index]!] }),
    summary: { tokens, trainedSpecialTokens: [] },
    parts,
    hash: hash.digest('hex'),
  }
}
