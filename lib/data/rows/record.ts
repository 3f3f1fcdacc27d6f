/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** Its place, for errors: `train.jsonl:12`. */
  where: string
  /** The JSON that it was read from, if it was JSON; only this shows how numbers are written. */
  json?: string
  /** The row as `exactColumns` returns it, if it was read from a file that is not JSON and whose numbers have types. */
  exact?: Readonly<Record<string, unknown>>
}
