import { z } from 'zod'

/** What was sampled for one step on all ranks, as JSON. */
export const SampledRecordSchema = z.object({
  rows: z.array(
    z.object({ row: z.int(), ids: z.array(z.int()), mask: z.array(z.int()), weight: z.number().optional() }),
  ),
  rollouts: z.array(
    z.object({ advantage: z.number(), sampled: z.array(z.number()).optional(), old: z.array(z.number()).optional() }),
  ),
  metrics: z.record(z.string(), z.object({ sum: z.number(), weight: z.number() })),
  records: z.array(z.looseObject({})),
  toolError: z.string().optional(),
})
export type SampledRecord = z.output<typeof SampledRecordSchema>
