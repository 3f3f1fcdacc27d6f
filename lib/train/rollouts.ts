/** Rows that an objective makes of the model's own answers, for as many steps as it uses them. */
import { rowOfDocument, targetCounts } from '../batches/batch.js'
import type { StepRow } from '../batches/step-rows.js'
import { Engine, PAGE } from '../engine/index.js'
import { openConstraint, stopTokens } from '../generate/index.js'
import type { Model } from '../models/model.js'
import { tokenLogProbs } from '../objectives/objective.js'
import type { Rollout, SampleContext, SampledStep } from '../objectives/rollouts.js'
import type { WeightedSum } from '../objectives/weighted-sum.js'
import { gatherJson } from '../tensor/ranks.js'
import { resolveTemplate } from '../text/template.js'
import { appendRollouts } from './output/metrics-file.js'
import type { RankSync } from './rank-sync.js'
import type { Session } from './session.js'
import type { TrainerState } from './trainer-state.js'

/** Answers that are written at once. */
const ANSWERS_AT_ONCE = 64

type SampledRecord = NonNullable<TrainerState['generation']>[number]

/** This rank's sampled rows of a step, and its part of the step's metrics. */
interface StepRollouts extends Pick<SampledStep, 'rows' | 'rollouts' | 'metrics'> {
  /** Answers that are used for later steps too. */
  readonly generation: TrainerState['generation']
}

/** Thrown where another rank discards the step. */
export const DROPPED = Symbol('dropped')

/**
 * Returns the rows of the next step as the objective samples them, or as it sampled them for an earlier step; null for an objective
 * that samples none.
 * @throws DROPPED if the signal of another rank was aborted meanwhile
 */
export async function rolloutsOfStep(session: Session): Promise<StepRollouts | null> {
  const { work, output, progress } = session
  const { objective } = work
  const { state } = progress
  if (!objective.sample) return null
  const { steps, times } = objective.reuse
  const at = state.step % (steps * times)
  // A resumed run that uses answers longer than before has none of earlier steps.
  const reused = at > 0 ? state.generation : null
  const generation = reused ?? (await sampledSteps(session, state.step - (at % steps), steps))
  const record = generation[at % steps]!
  const isFirstUse = at < steps
  const { folder } = output
  if (isFirstUse && folder) await appendRollouts(folder.rollouts, state.step + 1, record.records)
  const { rank, size } = work.sync.ranks
  const own = [...record.rows.keys()].filter((i) => i % size === rank)
  return {
    rows: own.map((i) => {
      const { row, ids, mask, weight } = record.rows[i]!
      const documents = [{ ids: Int32Array.from(ids), mask: Uint8Array.from(mask) }]
      return { row, documents, ...(weight !== undefined && { weight }) }
    }),
    rollouts: new Map(own.map((i) => [record.rows[i]!.row, record.rollouts[i]! as Rollout])),
    metrics: isFirstUse && work.sync.isFirst ? record.metrics : {},
    generation: at + 1 < steps * times ? generation : null,
  }
}

/** Samples the rows of some steps. */
async function sampledSteps(session: Session, first: number, steps: number): Promise<SampledRecord[]> {
  const { work, rows, progress } = session
  const { sync } = work
  const sampled: SampledRecord[] = []
  for (let step = first; step < Math.min(first + steps, rows.steps.totalSteps); step++) {
    const own = await sampledFor(session, await rows.steps.rowsOfStep(step), { draws: step })
    if ((await sync.agree()).drop) throw DROPPED
    const all = await onAllRanks(sync, own)
    progress.toolError ??= all.toolError ?? null
    sampled.push(all)
  }
  return sampled
}

/** Samples for rows of this rank. */
export async function sampledFor(
  { options, work, rows }: Session,
  some: readonly StepRow[],
  what: Pick<SampleContext, 'draws' | 'answers'>,
): Promise<SampledStep> {
  const { model, objective, passes, facts, sync, signal } = work
  passes.setDropout(null)
  const template = model.tokenizer && (await resolveTemplate(options.template, model.tokenizer))
  const tokenizer = model.tokenizer!
  const stopIds = await stopTokens(model, template)
  return objective.sample!(some, {
    ...what,
    seed: options.seed,
    tokenizer,
    stopIds,
    signal,
    openEngine: (tokens) => openEngine(model, tokens),
    openConstraint(schema) {
      const { vocabularySize } = model.config
      return openConstraint({ schema }, { tokenizer, vocabularySize, eosIds: [...stopIds] })
    },
    async sum(values) {
      const all = await sync.sum(values)
      if (!all) throw DROPPED
      return [...all]
    },
    async logProbs(sampled, temperature) {
      const all = new Map<number, number[]>()
      for (const batch of rows.batchesOf(sampled, facts.machine.tokenBudget)) {
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

/** Opens an engine with memory for as many of the completions as are written at once. */
function openEngine(model: Model, tokens: readonly number[]): Engine {
  const sequences = Math.min(ANSWERS_AT_ONCE, tokens.length)
  const longest = [...tokens].sort((a, b) => b - a).slice(0, sequences)
  // Memory is allocated in pages; a sequence may fill its last one in part.
  const room = longest.reduce((sum, length) => sum + length + PAGE, 0)
  return new Engine(model, { sequences, tokens: room })
}

/** Joins the samples of all ranks in the order of rows. */
async function onAllRanks(sync: RankSync, own: SampledStep): Promise<SampledRecord> {
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
