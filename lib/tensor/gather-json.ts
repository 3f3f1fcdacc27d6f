export interface GatheringRanks {
  /** What each rank gives, as many bytes of each, by rank. */
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
}

/** The most bytes that a rank says. */
const BYTES = 4096

/** What each rank says, by rank: little, as JSON of at most 4096 bytes. */
export async function gatherJson<Value>(ranks: GatheringRanks, own: Value): Promise<Value[]> {
  const bytes = Buffer.alloc(BYTES)
  bytes.write(JSON.stringify(own))
  const all = await ranks.gather(bytes)
  return all.map((said) => JSON.parse(Buffer.from(said).toString('utf8').replace(/\0+$/, '')))
}
