import type { PlainDType } from '../native/addon.js'
import { type ForeignDType, foreignDTypes, type StoredDType } from './stored-dtype.js'

const namesOfPlain: Record<PlainDType, string> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
}

type GgufName = `Q${string}` | `IQ${string}`

/** Types of safetensors files: all except GGUF's blocks. */
export type SafetensorsDType = PlainDType | Exclude<ForeignDType, GgufName>

const dtypes = new Map<string, SafetensorsDType>([
  ...Object.entries(namesOfPlain).map(([dtype, name]) => [name, dtype as PlainDType] as const),
  ...foreignDTypes
    .filter((name): name is Exclude<ForeignDType, GgufName> => !/^I?Q/.test(name))
    .map((name) => [name, name] as const),
])

/** Returns the dtype of a name such as `BF16`, or null if the format has no such name. */
export function dtypeOfSafetensorsName(name: string): SafetensorsDType | null {
  return dtypes.get(name) ?? null
}

/** Returns the format's name of a dtype, or null if it has none. */
export function safetensorsNameOf(dtype: StoredDType): string | null {
  if (dtype in namesOfPlain) return namesOfPlain[dtype as PlainDType]
  return dtypes.has(dtype) ? dtype : null
}
