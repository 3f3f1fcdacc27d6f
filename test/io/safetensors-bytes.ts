/** The bytes of a safetensors file with any header, valid or not. */
export function safetensorsBytes(header: unknown, dataBytes: number, claimedLength?: number | bigint): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(claimedLength ?? json.length))
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)])
}
