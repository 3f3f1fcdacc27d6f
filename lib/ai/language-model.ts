import { randomInt, randomUUID } from 'node:crypto'
import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4FunctionTool,
  LanguageModelV4GenerateResult,
  LanguageModelV4StreamPart,
  LanguageModelV4StreamResult,
  SharedV4Warning,
} from '@ai-sdk/provider'
import { isObject } from '../common/arguments.js'
import {
  type GeneratedPiece,
  type GenerateOptions,
  type GenerateResult,
  promptTemplate,
  type TextEngine,
} from '../generate/index.js'
import type { ModelView } from '../models/index.js'
import { ChatSchema, parseOptions } from '../options/index.js'
import { ChatMessage } from '../serve/chat-deltas.js'
import { type Calling, callingOf } from '../serve/chat-fields.js'
import { MessageParts } from '../serve/message-parts.js'
import type { ChatTemplate } from '../text/template.js'
import { StreamParts } from './parts.js'
import { messagesOf } from './prompt.js'

const SettingsSchema = ChatSchema.omit({ system: true, tools: true })

/** Returns the settings as they were given. @throws UsageError for wrong ones */
export function checkedSettings<Settings extends object>(settings: Settings): Settings {
  parseOptions(SettingsSchema, settings)
  return settings
}

/** A call of the AI SDK as one of the engine. */
interface PreparedCall extends Pick<Calling, 'forced'> {
  readonly call: GenerateOptions
  readonly warnings: SharedV4Warning[]
  /** Whether pieces are told as they come, too. */
  readonly isRaw: boolean
}

/** A language model of the AI SDK. */
export class MoraLanguageModel implements LanguageModelV4 {
  readonly specificationVersion = 'v4'
  readonly provider = 'mora'
  readonly supportedUrls = {}
  readonly #engine: () => TextEngine
  readonly #view: () => ModelView
  readonly #defaults: GenerateOptions

  constructor(
    /** Name of the adapter, or else of the model. */
    readonly modelId: string,
    engine: () => TextEngine,
    view: () => ModelView,
    defaults: GenerateOptions,
  ) {
    this.#engine = engine
    this.#view = view
    this.#defaults = defaults
  }

  async doStream(options: LanguageModelV4CallOptions): Promise<LanguageModelV4StreamResult> {
    return { stream: ReadableStream.from(this.#parts(await this.#prepare(options))) }
  }

  async doGenerate(options: LanguageModelV4CallOptions): Promise<LanguageModelV4GenerateResult> {
    const prepared = await this.#prepare(options)
    const { warnings } = prepared
    const content: LanguageModelV4Content[] = []
    let response = {}
    for await (const part of this.#parts(prepared)) {
      const last = content.at(-1)
      if (part.type === 'text-start' || part.type === 'reasoning-start')
        content.push({ type: part.type === 'text-start' ? 'text' : 'reasoning', text: '' })
      else if (part.type === 'text-delta' || part.type === 'reasoning-delta') {
        if (last && 'text' in last) last.text += part.delta
      } else if (part.type === 'tool-call') content.push(part)
      else if (part.type === 'response-metadata') response = part
      else if (part.type === 'finish') {
        const { usage, finishReason, providerMetadata } = part
        return { content, usage, finishReason, providerMetadata, response, warnings }
      }
    }
    throw new Error('A stream of parts has a last one.')
  }

  async #prepare(options: LanguageModelV4CallOptions): Promise<PreparedCall> {
    const { maxOutputTokens, temperature, topP, topK, presencePenalty, frequencyPenalty, seed } = options
    const { prompt, toolChoice, responseFormat, stopSequences, abortSignal, providerOptions } = options
    const warnings: SharedV4Warning[] = []
    const view = this.#view()
    const settings = { ...this.#defaults, ...checkedSettings<GenerateOptions>(providerOptions?.mora ?? {}) }
    const template = await promptTemplate(view, { template: settings.template ?? 'auto' }, (message) =>
      warnings.push({ type: 'other', message }),
    )
    const contentSchema: Record<string, unknown> | undefined =
      responseFormat?.type === 'json' ? (responseFormat.schema ?? {}) : undefined
    const calling = callingOf({
      tools: functionsOf(options, warnings).map(({ name, description, inputSchema: parameters }) => ({
        type: 'function',
        function: { name, ...(description !== undefined && { description }), parameters },
      })),
      tool_choice:
        toolChoice?.type === 'tool'
          ? { type: 'function', function: { name: toolChoice.toolName } }
          : (toolChoice?.type ?? 'auto'),
      parallel_tool_calls: true,
      response_format:
        contentSchema === undefined
          ? { type: 'text' }
          : { type: 'json_schema', json_schema: { schema: contentSchema } },
    })
    const { forced } = calling
    const schema = forced?.schema ?? contentSchema
    const given = {
      maxNewTokens: maxOutputTokens,
      temperature,
      topP,
      topK,
      presencePenalty,
      frequencyPenalty,
      seed,
      stop: stopSequences,
      signal: abortSignal,
    }
    const call = {
      maxNewTokens: view.config.maxPositions,
      seed: randomInt(2 ** 47),
      ...settings,
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      messages: messagesOf(prompt),
      templateOptions: {
        ...reasoningOptions(options, template, warnings),
        ...(isObject(settings.templateOptions) && settings.templateOptions),
      },
      ...(calling.tools.length > 0 && { tools: calling.tools }),
      ...(schema !== undefined && { schema }),
      // A text that fits a schema is all content: no reasoning or calls are separated from it.
      parse: schema === undefined,
    }
    return { call, forced, warnings, isRaw: options.includeRawChunks === true }
  }

  async *#parts({ call, forced, warnings, isRaw }: PreparedCall): AsyncGenerator<LanguageModelV4StreamPart, void> {
    yield { type: 'stream-start', warnings }
    yield { type: 'response-metadata', id: randomUUID(), timestamp: new Date(), modelId: this.modelId }
    const message = new ChatMessage(forced, Number.POSITIVE_INFINITY)
    const parts = new MessageParts()
    const stream = new StreamParts()
    for await (const event of withWhole(this.#engine().stream(call))) {
      if ('finishReason' in event) {
        const { delta, finishReason } = message.end(event)
        yield* stream.of(parts.add(delta))
        yield* stream.of(parts.end())
        yield stream.finish(event, finishReason)
      } else {
        if (isRaw) yield { type: 'raw', rawValue: event }
        yield* stream.of(parts.add(message.push(event) ?? {}))
      }
    }
  }
}

/** Yields the pieces of a text, and then its whole. */
async function* withWhole(
  pieces: AsyncGenerator<GeneratedPiece, GenerateResult>,
): AsyncGenerator<GeneratedPiece | GenerateResult, void> {
  yield yield* pieces
}

/** Returns the functions among tools. */
function functionsOf(
  { tools = [], toolChoice }: LanguageModelV4CallOptions,
  warnings: SharedV4Warning[],
): LanguageModelV4FunctionTool[] {
  return tools.filter((tool): tool is LanguageModelV4FunctionTool => {
    const warn = (feature: string) =>
      warnings.push({ type: 'unsupported', feature: `${feature} of the tool ${tool.name}` })
    if (tool.type === 'provider') warn('execution by a provider')
    else {
      if (tool.inputExamples) warn('inputExamples')
      // A call that is wanted fits its schema anyway.
      if (tool.strict && (toolChoice?.type ?? 'auto') === 'auto') warn('strict')
    }
    return tool.type === 'function'
  })
}

/** Returns the variables of the template for a wanted effort of reasoning. */
function reasoningOptions(
  { reasoning = 'provider-default' }: LanguageModelV4CallOptions,
  template: ChatTemplate | null,
  warnings: SharedV4Warning[],
): object {
  if (reasoning === 'provider-default') return {}
  const has = (variable: string) => template?.source?.includes(variable)
  const options = {
    ...(has('enable_thinking') && { enable_thinking: reasoning !== 'none' }),
    ...(has('reasoning_effort') && reasoning !== 'none' && { reasoning_effort: reasoning }),
  }
  if (Object.keys(options).length === 0)
    warnings.push({ type: 'unsupported', feature: 'reasoning', details: 'The chat template has no variable for it.' })
  return options
}
