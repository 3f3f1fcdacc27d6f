/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** Where it stands, for errors: `train.jsonl:12`. */
  where: string
  /** The JSON that it was read from, where it was JSON: how numbers are written is only known from that. */
  json?: string
}
