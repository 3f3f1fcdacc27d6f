/** The body of a chat, and its translation into options of `generate`. */
import { z } from 'zod'
import { aFlag, anObject, anyText, aText, wholeBetween } from '../common/arguments.js'
import { theOption } from '../common/option-names.js'
import { ResponseFormatField, schemaOfFormat } from '../jobs/response-format.js'
import type { ChatTemplate, Message } from '../text/template.js'
import { eitherOf, listField, ofCharacters, patternField, wordField, wrongField } from './fields.js'
import { constraintsIn, limitField, requireOneConstraint, type SamplingBody, samplingFields } from './sampling.js'

/** Maximum numbers of messages, or items, of a conversation, parts of a message, calls of a message, and tools. */
export const MESSAGES = 16_384
const [PARTS, CALLS, TOOLS] = [1024, 512, 512]

/** Maximum length of the JSON of tools, and of a template's variables. */
const TEMPLATE_CHARACTERS = 2 ** 18

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const

export const textPart = z.looseObject(
  { type: z.literal('text', { error: 'text, the only type of content that is supported,' }), text: anyText },
  { error: 'an object with type and text' },
)

const call = z.looseObject(
  {
    id: anyText.optional(),
    type: z.literal('function', { error: 'function' }).default('function'),
    function: z.looseObject(
      {
        name: aText,
        arguments: z.string({ error: 'a text of JSON' }),
      },
      { error: 'an object with name and arguments' },
    ),
  },
  { error: 'a call' },
)

/** A text or a list of parts. Not a union, so that errors say which part is wrong. */
export function contentField<Part extends z.ZodType>(part: Part) {
  const parts = listField(part, `a text or a list of at most ${PARTS} parts`, { most: PARTS })
  return z.custom<unknown>().transform((content, context) => {
    if (typeof content === 'string' || content === null) return content
    const { success, data, error } = parts.safeParse(content)
    if (success) return data
    const { message, path } = error.issues[0]!
    context.addIssue({ code: 'custom', message, path: [...path] })
    return z.NEVER
  })
}

export const isAbsent = (value: unknown) => value === undefined || value === null

const message = z
  .looseObject(
    {
      role: wordField(ROLES),
      content: contentField(textPart).optional(),
      // Mistral's and DeepSeek's word for a message that the completion continues.
      prefix: z.literal(false, { error: 'false, since continue_final_message continues the last message,' }).nullish(),
      tool_calls: listField(call, `a list of at most ${CALLS} calls`, { most: CALLS }).nullish(),
    },
    { error: 'a message, an object with role and content' },
  )
  .refine(({ content, tool_calls: calls }) => !isAbsent(content) || !isAbsent(calls), {
    error: 'a text or a list of parts',
    path: ['content'],
  })

export const messagesField = listField(message, `a list of 1 to ${MESSAGES} messages`, { least: 1, most: MESSAGES })

export const functionName = patternField(/^[\w.-]{1,64}$/, 'a name of letters, digits, hyphens and underscores')

const tool = z.looseObject(
  {
    type: z.literal('function', { error: 'function, the only type of tool that is supported,' }),
    function: z.looseObject(
      { name: functionName, parameters: anObject.optional() },
      { error: 'an object with name and parameters' },
    ),
  },
  { error: 'a tool, an object with type and function' },
)

export const toolsOf = <Tool extends z.ZodType>(tool: Tool) =>
  ofCharacters(listField(tool, `a list of at most ${TOOLS} tools`, { most: TOOLS }), TEMPLATE_CHARACTERS)

export const toolsField = toolsOf(tool)

const namedFunction = z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string() }) })

/** The tools among which the completion chooses, and whether it must call one. */
export const allowedTools = <Tool extends z.ZodType>(tool: Tool) =>
  z.looseObject({ mode: z.enum(['auto', 'required']), tools: z.array(tool).min(1).max(TOOLS) })

export const templateOptionsField = ofCharacters(anObject, TEMPLATE_CHARACTERS).refine(
  (given) => !['messages', 'tools', 'add_generation_prompt'].some((name) => name in given),
  { error: 'an object of variables other than messages, tools and add_generation_prompt' },
)

/** Where a conversation ends, by vLLM's names. */
export const endFields = { continue_final_message: aFlag.optional(), add_generation_prompt: aFlag.optional() }

/** Returns where a conversation ends, for `generate`. */
export const endOf = (body: Partial<Pick<ChatCompletionRequest, keyof typeof endFields>>) => ({
  continueFinalMessage: body.continue_final_message,
  addGenerationPrompt: body.add_generation_prompt,
})

export const ChatBody = z.looseObject({
  ...samplingFields,
  messages: messagesField,
  max_tokens: limitField(1).optional(),
  max_completion_tokens: limitField(1).optional(),
  logprobs: aFlag.default(false),
  top_logprobs: wholeBetween(0, 20).optional(),
  tools: toolsField.default([]),
  tool_choice: eitherOf(
    'auto, none, required, { type: function, function: { name } }, or { type: allowed_tools, allowed_tools: { mode, tools } }',
    [
      z.enum(['auto', 'none', 'required']),
      namedFunction,
      z.looseObject({ type: z.literal('allowed_tools'), allowed_tools: allowedTools(namedFunction) }),
    ],
  ).default('auto'),
  parallel_tool_calls: aFlag.default(true),
  response_format: ResponseFormatField.default({ type: 'text' }),
  ...endFields,
  chat_template_kwargs: templateOptionsField.default({}),
  reasoning_effort: anyText.optional(),
})
export type ChatCompletionRequest = z.output<typeof ChatBody>

/** Returns messages for a template: many templates know no developer, who speaks as the system did. */
export function messagesFor(messages: readonly Message[], template: ChatTemplate | null): Message[] {
  const knowsDeveloper = template?.names('developer') ?? false
  return messages.map((one) => (one.role === 'developer' && !knowsDeveloper ? { ...one, role: 'system' } : one))
}

/** Returns the texts of messages. */
export function contentsOf(messages: ChatCompletionRequest['messages']): string[] {
  return messages.flatMap(({ content }) =>
    typeof content === 'string' ? [content] : (content ?? []).map(({ text }) => text),
  )
}

/** @throws ApiError 400 for tools that the template does not print */
export function requireToolTemplate(tools: readonly unknown[] | undefined, template: ChatTemplate | null): void {
  if (!tools?.length || !template || template.readsTools) return
  throw wrongField(
    'tools',
    `The chat template prints no tools, so the model would not see them; leave out tools, or start the server with a template that prints them (${theOption('template')}).`,
    'unsupported_parameter',
  )
}

/** The functions that the completion may or must call. */
export interface Calling {
  /** Tools that the template prints. */
  readonly tools: ChatCompletionRequest['tools']
  /** The function that the completion must call: its name, or null for any. */
  readonly forced?: {
    readonly name: string | null
    readonly schema: object
    /** Names of functions that the completion may call instead of fitting the response_format. */
    readonly optional?: readonly string[]
  }
}

/** @throws ApiError 400 for a choice among no tools, or of a tool that is not there */
export function callingOf({
  tools: all,
  tool_choice: given,
  parallel_tool_calls: isParallel,
  response_format: format,
}: Pick<ChatCompletionRequest, 'tools' | 'tool_choice' | 'parallel_tool_calls' | 'response_format'>): Calling {
  if (given === 'none') return { tools: [] }
  if (given !== 'auto' && all.length === 0) throw wrongField('tool_choice', 'A tool_choice needs tools.')
  const toolNamed = (name: string) => {
    const found = all.find((one) => one.function.name === name)
    if (found) return found
    throw wrongField(
      'tool_choice',
      `Expected the name of one of the tools in tool_choice but received ${JSON.stringify(name)}.`,
    )
  }
  const allowed = typeof given === 'object' && given.type === 'allowed_tools' ? given.allowed_tools : undefined
  // Calls are read of tools that the model sees, so it sees only the allowed ones.
  const tools = allowed ? [...new Set(allowed.tools.map((one) => toolNamed(one.function.name)))] : all
  const choice = allowed?.mode ?? (given as Exclude<typeof given, { type: 'allowed_tools' }>)
  const parametersOf = (one: (typeof tools)[number]) => one.function.parameters ?? { type: 'object' }
  const calls = tools.map((one, i) => ({
    type: 'object',
    properties: { name: { const: one.function.name }, arguments: embedded(parametersOf(one), `parameters-${i}`) },
    required: ['name', 'arguments'],
    additionalProperties: false,
  }))
  if (choice === 'auto') {
    const content = schemaOfFormat(format)
    if (tools.length === 0 || !content) return { tools }
    const optional = tools.map((one) => one.function.name)
    return { tools, forced: { name: null, schema: { anyOf: [...calls, embedded(content, 'content')] }, optional } }
  }
  if (choice === 'required') {
    const call = { anyOf: calls }
    return { tools, forced: { name: null, schema: isParallel ? { type: 'array', items: call, minItems: 1 } : call } }
  }
  const { name } = choice.function
  return { tools, forced: { name, schema: parametersOf(toolNamed(name)) } }
}

/** Returns a schema within another one, whose references begin at its own root. */
const embedded = (schema: Readonly<Record<string, unknown>>, $id: string): object => ({ ...schema, $id })

/** Returns the JSON schema that the completion must fit. @throws ApiError 400 for several constraints */
export function contentSchemaOf(
  body: SamplingBody & Pick<ChatCompletionRequest, 'response_format'>,
  { forced }: Calling,
  formatParam: string,
): object | undefined {
  const schema = forced?.schema ?? schemaOfFormat(body.response_format)
  if (schema) {
    const isCall = forced && !forced.optional
    requireOneConstraint([...constraintsIn(body), isCall ? 'tool_choice' : formatParam])
  }
  return schema
}
