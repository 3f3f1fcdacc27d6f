/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** Where it stands, for errors: `train.jsonl:12`. */
  where: string
}
