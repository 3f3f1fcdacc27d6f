/** Where the rows of a stream that are not yet trained begin. */
import { z } from 'zod'

const count = z.int().min(0)

export const LanePlaceSchema = z.object({
  /** Rows of tokens that were taken, over all passes. */
  taken: count,
  /** Passes over the sources that are complete. */
  pass: count,
  /** Records of this pass before the current one, in the order in which they are drawn. */
  records: count,
  /** Rows of tokens that were taken from the current record. */
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
