/** The place in a stream up to which rows were trained. */
import { z } from 'zod'

const count = z.int().min(0)

export const LanePlaceSchema = z.object({
  /** Number of token rows that were taken, over all passes. */
  taken: count,
  /** Number of complete passes over the sources. */
  pass: count,
  /** Number of records of this pass before the current one, in drawing order. */
  records: count,
  /** Number of token rows that were taken from the current record. */
  rows: count,
  /** sha256, hexadecimal, of the records of this pass up to the current one; empty before the first. */
  sha256: z.string(),
})

export const StreamPlaceSchema = z.array(LanePlaceSchema)

/** The place of one lane. A lane is found again by reading its pass from the start. */
export type LanePlace = z.output<typeof LanePlaceSchema>

/** The places of all lanes. */
export type StreamPlace = z.output<typeof StreamPlaceSchema>

export const BEGINNING: LanePlace = { taken: 0, pass: 0, records: 0, rows: 0, sha256: '' }
