/** Features of Hugging Face's datasets, by which a Parquet file's metadata describes its columns. */
import type { FileMetaData, SchemaTree } from 'hyparquet'
import { isJsonObject, jsonIn } from '../../io/json.js'
import { elementType } from './parquet-values.js'

/**
 * Marks columns whose feature is Json as columns of JSON: where Arrow has no such type, their texts are stored as any others.
 *
 * @param schema the tree over the metadata's elements, which are changed
 */
export function markJsonColumns({ key_value_metadata: entries = [] }: FileMetaData, schema: SchemaTree): void {
  const written = jsonIn(entries.find(({ key }) => key === 'huggingface')?.value ?? '')
  if (isJsonObject(written) && isJsonObject(written.info)) mark(written.info.features, schema)
}

function mark(feature: unknown, type: SchemaTree | undefined): void {
  if (!type) return
  if (Array.isArray(feature)) mark(feature[0], elementType(type))
  if (!isJsonObject(feature)) return
  const { _type: kind, feature: inner } = feature
  if (kind === 'Json' && type.element.type === 'BYTE_ARRAY') type.element.converted_type = 'JSON'
  else if (typeof kind === 'string') mark(inner, elementType(type))
  else for (const child of type.children) mark(feature[child.element.name], child)
}
