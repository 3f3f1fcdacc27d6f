/** The tools of a response: functions, alone or in namespaces. */
import { z } from 'zod'
import { aFlag, anObject, anyText } from '../../common/arguments.js'
import { functionName } from '../chat-fields.js'
import { listField } from '../fields.js'
import type { RequestedChat } from '../requested-chat.js'

const MOST_OF_A_NAMESPACE = 512

const facts = {
  name: functionName,
  description: anyText.nullish(),
  parameters: anObject.nullish(),
  strict: aFlag.nullish(),
}

const member = z.looseObject(
  {
    type: z.literal('function', { error: 'function, the only type of tool that is supported in a namespace,' }),
    ...facts,
  },
  { error: 'a tool, an object with type and name' },
)

export const responseTool = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.literal('function'), ...facts }),
    z.looseObject({
      type: z.literal('namespace'),
      name: functionName,
      description: anyText.nullish(),
      tools: listField(member, `a list of at most ${MOST_OF_A_NAMESPACE} functions`, { most: MOST_OF_A_NAMESPACE }),
    }),
  ],
  {
    error: ({ code }) =>
      code === 'invalid_union'
        ? 'function or namespace, the only types of tools that are supported,'
        : 'a tool, an object with type and name',
  },
)

type ResponseTool = z.output<typeof responseTool>
type FunctionTool = z.output<typeof member>

/** Returns the name by which the model calls a function. */
export const calledName = (name: string, namespace: string | null | undefined): string =>
  namespace ? `${namespace}.${name}` : name

/** Returns functions for a chat. Those of a namespace have its name before theirs, and its description. */
export function chatTools(tools: readonly ResponseTool[]): RequestedChat['tools'] {
  const chatTool = ({ name, description, parameters }: FunctionTool, within?: ResponseTool) => {
    const told = [within?.description, description].filter(Boolean).join('\n')
    const fields = { ...(told && { description: told }), ...(parameters && { parameters }) }
    return { type: 'function' as const, function: { name: calledName(name, within?.name), ...fields } }
  }
  return tools.flatMap((tool) =>
    tool.type === 'function' ? chatTool(tool) : tool.tools.map((own) => chatTool(own, tool)),
  )
}

/** Returns the namespaces of functions, by the names by which the model calls them. */
export function namespacesOf(tools: readonly ResponseTool[]): ReadonlyMap<string, { name: string; namespace: string }> {
  return new Map(
    tools.flatMap((tool) =>
      tool.type === 'function'
        ? []
        : tool.tools.map(({ name }) => [calledName(name, tool.name), { name, namespace: tool.name }] as const),
    ),
  )
}

/** Returns a tool as a response has it. */
export function toldTool(tool: ResponseTool | FunctionTool): object {
  if (tool.type === 'namespace') return { ...tool, tools: tool.tools.map(toldTool) }
  const { description = null, parameters = null, strict } = tool
  return { ...tool, description, parameters, strict: strict ?? false }
}
