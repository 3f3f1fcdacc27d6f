import type { PlainDType } from '../native.js'
import type { ForeignDType, StoredDType } from './stored-dtype.js'

const namesOfPlain: Record<PlainDType, string> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
}

const foreignNames = [
  'BOOL',
  'I8',
  'I16',
  'U16',
  'U32',
  'U64',
  'F64',
  'C64',
  'F8_E4M3',
  'F8_E5M2',
  'F8_E8M0',
  'F8_E4M3FNUZ',
  'F8_E5M2FNUZ',
  'F6_E2M3',
  'F6_E3M2',
  'F4',
] as const satisfies readonly ForeignDType[]

/** Types that a safetensors file can hold: all but GGUF's blocks. */
export type SafetensorsDType = PlainDType | (typeof foreignNames)[number]

const dtypes = new Map<string, SafetensorsDType>([
  ...Object.entries(namesOfPlain).map(([dtype, name]) => [name, dtype as PlainDType] as const),
  ...foreignNames.map((name) => [name, name] as const),
])

/** The dtype of a name such as `BF16`, or null if the format has no such name. */
export function dtypeOfSafetensorsName(name: string): SafetensorsDType | null {
  return dtypes.get(name) ?? null
}

/** The format's name of a dtype, or null for types that it cannot hold. */
export function safetensorsNameOf(dtype: StoredDType): string | null {
  if (dtype in namesOfPlain) return namesOfPlain[dtype as PlainDType]
  return dtypes.has(dtype) ? dtype : null
}
