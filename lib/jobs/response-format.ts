/** OpenAI's `response_format`: the form of an answer. */
import { z } from 'zod'
import { anObject, anyText } from '../common/arguments.js'

const jsonSchema = z.looseObject(
  { name: anyText.optional(), schema: anObject },
  { error: 'an object with name and schema' },
)

export const ResponseFormatField = z.discriminatedUnion(
  'type',
  [
    z.looseObject({ type: z.literal('text') }),
    z.looseObject({ type: z.literal('json_object'), schema: anObject.optional() }),
    z.looseObject({ type: z.literal('json_schema'), json_schema: jsonSchema }),
  ],
  { error: 'one of text, json_object, json_schema' },
)
export type ResponseFormat = z.output<typeof ResponseFormatField>

/** Returns the JSON schema that an answer fits; undefined for free text. */
export function schemaOfFormat(format: ResponseFormat): Record<string, unknown> | undefined {
  if (format.type === 'text') return undefined
  return format.type === 'json_schema' ? format.json_schema.schema : (format.schema ?? { type: 'object' })
}
