/** Finds nulls that Arrow writes into schemas and calls of functions for keys that only other rows have. */
import { isJsonObject } from '../io/json.js'
import type { Message } from '../text/templates/messages.js'

/** Keywords of a schema whose values are data, which may be null. */
const OF_DATA = new Set(['default', 'const', 'enum', 'examples'])
const MAY_BE_NULL = new Set(['default', 'const'])

/**
 * Whether schemas hold nulls that have no meaning there, or calls hold nulls for arguments that the function's schema does not
 * name.
 */
export function hasArrowNulls(messages: readonly Message[], tools: readonly unknown[]): boolean {
  const schemas = tools.map((tool) => (isJsonObject(tool) && isJsonObject(tool.function) ? tool.function : tool))
  if (schemas.some(hasNullKeyword)) return true
  return messages.some(({ tool_calls: calls }) => {
    if (!Array.isArray(calls)) return false
    return calls.some((call: unknown) => {
      const { name, arguments: given } = isJsonObject(call) && isJsonObject(call.function) ? call.function : {}
      const tool = schemas.find((schema) => isJsonObject(schema) && schema.name === name)
      return hasUnnamedNull(given, isJsonObject(tool) ? tool.parameters : undefined)
    })
  })
}

function hasNullKeyword(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasNullKeyword)
  if (!isJsonObject(value)) return false
  return Object.entries(value).some(([key, part]) =>
    part === null ? !MAY_BE_NULL.has(key) : !OF_DATA.has(key) && hasNullKeyword(part),
  )
}

function hasUnnamedNull(value: unknown, schema: unknown): boolean {
  const { properties, items } = isJsonObject(schema) ? schema : {}
  if (Array.isArray(value)) return value.some((one) => hasUnnamedNull(one, items))
  if (!isJsonObject(value)) return false
  return Object.entries(value).some(([key, part]) => {
    const own = isJsonObject(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined
    return part === null ? !isJsonObject(own) : hasUnnamedNull(part, own)
  })
}
