/** Safetensors files whose tensors tests change: read and written byte by byte, dtypes of all kinds among them. */
import { readFileSync, writeFileSync } from 'node:fs'

export interface RawTensor {
  dtype: string
  shape: number[]
  bytes: Uint8Array
}

export function readRawTensors(path: string): Map<string, RawTensor> {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, RawTensor & { data_offsets: number[] }>
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return new Map(
    tensors.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, { dtype, shape, bytes: Uint8Array.from(file.subarray(start + from!, start + to!)) }],
    ),
  )
}

export function writeRawTensors(path: string, tensors: ReadonlyMap<string, RawTensor>): void {
  let end = 0
  const header = [...tensors].map(([name, { dtype, shape, bytes }]) => {
    const from = end
    end += bytes.length
    return [name, { dtype, shape, data_offsets: [from, end] }] as const
  })
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  writeFileSync(path, Buffer.concat([length, json, ...[...tensors.values()].map(({ bytes }) => bytes)]))
}
