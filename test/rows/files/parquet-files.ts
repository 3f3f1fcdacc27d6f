/** Parquet files for tests, with the schemas that data sets have. */
import type { SchemaElement } from 'hyparquet'
import { type ParquetWriteOptions, parquetWriteBuffer } from 'hyparquet-writer'

const text = (name: string): SchemaElement => ({
  name,
  type: 'BYTE_ARRAY',
  converted_type: 'UTF8',
  repetition_type: 'OPTIONAL',
})
const list = (name: string, element: SchemaElement[]): SchemaElement[] => [
  { name, num_children: 1, converted_type: 'LIST', repetition_type: 'OPTIONAL' },
  { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
  ...element,
]

const group = (name: string, children: SchemaElement[][]): SchemaElement[] => [
  { name, num_children: children.length, repetition_type: 'OPTIONAL' },
  ...children.flat(),
]
const double = (name: string): SchemaElement => ({ name, type: 'DOUBLE', repetition_type: 'OPTIONAL' })
const json = (name: string): SchemaElement => ({
  name,
  type: 'BYTE_ARRAY',
  converted_type: 'JSON',
  repetition_type: 'OPTIONAL',
})

/** Top-level columns by name, as pyarrow writes them. */
const COLUMNS: Record<string, SchemaElement[]> = {
  text: [text('text')],
  prompt: [text('prompt')],
  completion: [text('completion')],
  functions: list('functions', [text('element')]),
  options: group('options', [[text('template')], [text('note')]]),
  messages: list('messages', [
    { name: 'element', num_children: 3, repetition_type: 'OPTIONAL' },
    text('role'),
    text('content'),
    text('name'),
  ]),
  input_ids: list('input_ids', [{ name: 'element', type: 'INT64', repetition_type: 'OPTIONAL' }]),
  labels: list('labels', [{ name: 'element', type: 'INT32', repetition_type: 'OPTIONAL' }]),
  choices: list('choices', [text('element')]),
  answer: [{ name: 'answer', type: 'INT64', repetition_type: 'OPTIONAL' }],
  when: [{ name: 'when', type: 'INT64', converted_type: 'TIMESTAMP_MILLIS', repetition_type: 'OPTIONAL' }],
  limits: group('limits', [
    [double('least')],
    [double('most')],
    [{ name: 'count', type: 'INT64', repetition_type: 'OPTIONAL' }],
    list('steps', [double('element')]),
  ]),
  half: [{ name: 'half', type: 'FLOAT', repetition_type: 'OPTIONAL' }],
  tools: list('tools', [json('element')]),
  chat_template_kwargs: [json('chat_template_kwargs')],
  picture: [{ name: 'picture', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' }],
}

/** @param columns values of each column, of the names above */
export function parquetBytes(
  columns: Record<string, unknown[]>,
  options: Partial<
    Pick<ParquetWriteOptions, 'codec' | 'compressors' | 'rowGroupSize' | 'pageSize' | 'kvMetadata'>
  > = {},
): Uint8Array {
  const names = Object.keys(columns)
  const schema = [{ name: 'schema', num_children: names.length }, ...names.flatMap((name) => COLUMNS[name]!)]
  const columnData = names.map((name) => ({ name, data: columns[name]! }))
  return new Uint8Array(parquetWriteBuffer({ schema, columnData, ...options }))
}
