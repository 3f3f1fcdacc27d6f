/** Rows that an objective makes of the model's own answers, for as many steps as it uses them. */
import { rowOfDocument, targetCounts } from '../data/batch.js'
import type { StepRow } from '../data/step-rows.js'
import { tokenLogProbs } from '../objectives/objective.js'
import type { Rollout, SampleContext, SampledStep } from '../objectives/rollouts.js'
import type { WeightedSum } from '../objectives/weighted-sum.js'
import { gatherJson } from '../tensor/ranks.js'
import type { SampledRecord } from './checkpoints/sampled-record.js'
import type { TrainerState } from './checkpoints/trainer-state.js'
import { appendRollouts } from './output/metrics-file.js'
import type { Session } from './session.js'

/** Rows of a step that were sampled. */
export interface StepRollouts {
  readonly rows: readonly StepRow[]
  readonly rollouts: ReadonlyMap<number, Rollout>
  /** Means that this rank adds to the step's. */
  readonly metrics: Readonly<Record<string, WeightedSum>>
  /** Answers that are used for later steps too. */
  readonly generation: TrainerState['generation']
}

/** Thrown where another rank gives up. */
export const DROPPED = Symbol('dropped')

/**
 * Returns the rows of the next step as the objective samples them, or as it sampled them for an earlier step; null for an objective
 * that samples none.
 * @throws DROPPED if the signal of another rank was aborted meanwhile
 */
export async function rolloutsOfStep(session: Session): Promise<StepRollouts | null> {
  const { objective, state, output } = session
  if (!objective.sample) return null
  const { steps, times } = objective.reuse
  const at = state.step % (steps * times)
  // A resumed run that uses answers longer than before has none of earlier steps.
  const kept = at > 0 ? state.generation : null
  const generation = kept ?? (await sampledSteps(session, state.step - (at % steps), steps))
  const record = generation[at % steps]!
  const isFirstUse = at < steps
  if (isFirstUse && output) await appendRollouts(output.rollouts, state.step + 1, record.records)
  const { rank, size } = session.sync.ranks
  const own = [...record.rows.keys()].filter((i) => i % size === rank)
  return {
    rows: own.map((i) => {
      const { row, ids, mask, weight } = record.rows[i]!
      const documents = [{ ids: Int32Array.from(ids), mask: Uint8Array.from(mask) }]
      return { row, documents, ...(weight !== undefined && { weight }) }
    }),
    rollouts: new Map(own.map((i) => [record.rows[i]!.row, record.rollouts[i]! as Rollout])),
    metrics: isFirstUse && session.sync.isFirst ? record.metrics : {},
    generation: at + 1 < steps * times ? generation : null,
  }
}

/** Samples the rows of some steps. */
async function sampledSteps(session: Session, first: number, steps: number): Promise<SampledRecord[]> {
  const { data, sync } = session
  const sampled: SampledRecord[] = []
  for (let step = first; step < Math.min(first + steps, data.totalSteps); step++) {
    const own = await sampledFor(session, await data.rowsOfStep(step), { draws: step })
    if ((await sync.agree()).drop) throw DROPPED
    const all = await onAllRanks(session, own)
    session.toolError ??= all.toolError ?? null
    sampled.push(all)
  }
  return sampled
}

/** Samples for rows of this rank. */
export function sampledFor(
  session: Session,
  rows: readonly StepRow[],
  what: Pick<SampleContext, 'draws' | 'answers'>,
): Promise<SampledStep> {
  const { objective, options, passes, data, facts, sync, signal, tokenizer, openWriter } = session
  passes.setDropout(null)
  return objective.sample!(rows, {
    ...what,
    seed: options.seed,
    tokenizer: tokenizer!,
    signal,
    openWriter,
    async sum(values) {
      const all = await sync.sum(values)
      if (!all) throw DROPPED
      return [...all]
    },
    async logProbs(rows, temperature) {
      const all = new Map<number, number[]>()
      for (const batch of data.batchesOf(rows, facts.machine.tokenBudget)) {
        using values = await tokenLogProbs(passes, batch, { temperature, gradients: false })
        const logps = Array.from(await values.data(), Number)
        let from = 0
        for (const [document, count] of targetCounts(batch).entries()) {
          all.set(rowOfDocument(batch, document), logps.slice(from, from + count))
          from += count
        }
      }
      return all
    },
  })
}

/** Joins what each rank sampled, in the order of rows. */
async function onAllRanks({ sync }: Session, own: SampledStep): Promise<SampledRecord> {
  const records = (await gatherJson<object>(sync, {
    rows: own.rows.map(({ row, documents: [document], weight }) => ({
      row,
      ids: [...document!.ids],
      mask: [...document!.mask],
      weight,
    })),
    rollouts: own.rows.map(({ row }) => own.rollouts.get(row)!),
    metrics: own.metrics,
    records: own.records,
    toolError: own.toolError,
  })) as SampledRecord[]
  const places = records.flatMap(({ rows }, rank) => rows.map(({ row }, i) => ({ row, rank, i })))
  places.sort((a, b) => a.row - b.row)
  const metrics: Record<string, WeightedSum> = {}
  for (const { metrics: ofRank } of records) {
    for (const [name, { sum, weight }] of Object.entries(ofRank)) {
      const before = metrics[name] ?? { sum: 0, weight: 0 }
      metrics[name] = { sum: before.sum + sum, weight: before.weight + weight }
    }
  }
  return {
    rows: places.map(({ rank, i }) => records[rank]!.rows[i]!),
    rollouts: places.map(({ rank, i }) => records[rank]!.rollouts[i]!),
    metrics,
    records: places.map(({ rank, i }) => records[rank]!.records[i]!),
    toolError: records.find(({ toolError }) => toolError !== undefined)?.toolError,
  }
}
