/** Functions that a model calls while it is trained. */
import { z } from 'zod'
import { withDeadline } from '../common/cancellation.js'
import { InputError, quoted, RunError, UsageError } from '../common/errors.js'
import { reasonOfCaller } from '../common/foreign-errors.js'
import { theOption } from '../common/option-names.js'
import { shortened } from '../common/printable.js'
import type { ChatTemplate } from '../text/template.js'

/** Called with the model's arguments; the model reads its result: a text, or else its JSON. */
export type ToolFunction = (args: Record<string, unknown>) => unknown

/** A function that the model may call, with its description. */
export interface Tool {
  /** Description of the function. */
  readonly description?: string
  /** The arguments: a zod schema of an object, or its JSON schema. */
  readonly parameters?: object
  /** Runs the function. */
  readonly run: ToolFunction
}

/** Functions by name. */
export type Tools = Readonly<Record<string, Tool | ToolFunction>>

/** Returns the schemas of functions, for chat templates. */
export function toolSchemas(tools: Tools): object[] {
  return Object.entries(tools).map(([name, tool]) => {
    const { description = '', parameters = {} } = typeof tool === 'function' ? {} : tool
    const { $schema, ...schema } = parameters instanceof z.ZodType ? z.toJSONSchema(parameters) : { ...parameters }
    return {
      type: 'function',
      function: { name, description, parameters: { type: 'object', properties: {}, ...schema } },
    }
  })
}

const aSchema = z.object({ function: z.object({ name: z.string() }) })

/** Returns schemas of a row, and the schemas of the functions that are not among them. */
export function besideOthers(schemas: readonly unknown[], tools: Tools): unknown[] {
  const names = schemas.map((schema) => aSchema.safeParse(schema).data?.function.name)
  const others = Object.fromEntries(Object.entries(tools).filter(([name]) => !names.includes(name)))
  return [...schemas, ...toolSchemas(others)]
}

/** Maximum number of characters of a reply to the model; more would hold up the run. */
const MAX_REPLY = 2 ** 18

/** Returns the text of a reply to the model. @throws RunError `too-large` */
export function replyText(text: string): string {
  if (text.length <= MAX_REPLY) return text
  throw new RunError('too-large', `Its text has ${text.length} characters, more than ${MAX_REPLY}.`)
}

/** The result of a call, as the model reads it. */
interface ToolResult {
  readonly content: string
  /** The error of the function, which may not be the model's fault. */
  readonly error?: string
}

/**
 * Calls a function for the model, and returns its result or its error as a text. The model can learn from an error, so nothing is
 * thrown.
 */
export async function callTool(
  tools: Tools,
  { name, arguments: args }: { name: string; arguments: Record<string, unknown> },
  { seconds, signal }: { seconds: number; signal?: AbortSignal | undefined },
): Promise<ToolResult> {
  const tool = Object.hasOwn(tools, name) ? tools[name]! : undefined
  if (!tool) return { content: `Error: there is no function ${name}.` }
  const run = typeof tool === 'function' ? tool : tool.run
  try {
    const result = await withDeadline(async () => run(args), { seconds, signal })
    return { content: replyText(typeof result === 'string' ? result : (JSON.stringify(result) ?? '')) }
  } catch (error) {
    signal?.throwIfAborted()
    const message = error instanceof Error ? error.message : String(error)
    return { content: `Error: ${shortened(message, MAX_REPLY)}`, error: `${name}: ${reasonOfCaller(error)}` }
  }
}

/** @param of whose functions they are @throws UsageError for what is no function */
export function checkTools(tools: Tools, of = 'grpo'): void {
  if (typeof tools !== 'object' || tools === null)
    throw new UsageError('bad-value', `Expected functions by name for tools of ${of} but received ${quoted(tools)}.`)
  for (const [name, tool] of Object.entries(tools)) {
    if (typeof tool === 'function' || typeof tool?.run === 'function') continue
    throw new UsageError('bad-value', `Expected a function, or an object with the function run, for the tool ${name}.`)
  }
}

/** @throws InputError `unfit-template` if the template does not print these functions for the model */
export function requirePrintedTools(tools: Tools, template: ChatTemplate | null): void {
  const names = Object.keys(tools)
  if (names.length === 0 || template?.readsTools) return
  const why = template ? 'the chat template shows it no tools' : 'there is no chat template'
  throw new InputError(
    'unfit-template',
    `The model would not know of the functions ${names.join(', ')}: ${why}; name a template that knows tools (${theOption('template')}).`,
  )
}
