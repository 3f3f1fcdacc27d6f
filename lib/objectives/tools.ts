/** Functions that a model calls while it is trained. */
import { z } from 'zod'
import { withDeadline } from '../common/deadline.js'
import { UsageError } from '../common/errors.js'

/** Called with the arguments that the model wrote; what it returns is told to the model: a text, or else its JSON. */
export type ToolFunction = (args: Record<string, unknown>) => unknown

/** A function that the model may call, and what it is told of it. */
export interface Tool {
  /** What it does. */
  readonly description?: string
  /** The arguments: a zod schema of an object, or its JSON schema. */
  readonly parameters?: object
  /** Does it. */
  readonly run: ToolFunction
}

/** Functions by name. */
export type Tools = Readonly<Record<string, Tool | ToolFunction>>

/** Returns what templates tell the model of functions. */
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

/**
 * Calls a function for the model, and returns what the model is told: its result, or what was wrong. Only the model can learn from
 * that, so nothing is thrown.
 */
export async function callTool(
  tools: Tools,
  { name, arguments: args }: { name: string; arguments: Record<string, unknown> },
  { seconds, signal }: { seconds: number; signal?: AbortSignal | undefined },
): Promise<string> {
  const tool = Object.hasOwn(tools, name) ? tools[name]! : undefined
  if (!tool) return `Error: there is no function ${name}.`
  const run = typeof tool === 'function' ? tool : tool.run
  try {
    const result = await withDeadline(async () => run(args), { seconds, signal })
    return typeof result === 'string' ? result : (JSON.stringify(result) ?? '')
  } catch (error) {
    signal?.throwIfAborted()
    return `Error: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** @throws UsageError for functions that are none */
export function checkTools(tools: Tools): void {
  for (const [name, tool] of Object.entries(tools)) {
    if (typeof tool === 'function' || typeof tool?.run === 'function') continue
    throw new UsageError('bad-value', `Expected a function, or an object with the function run, for the tool ${name}.`)
  }
}
