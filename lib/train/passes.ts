import type { Batch } from '../batches/batch.js'
import type { LossOptions } from '../objectives/objective.js'
import type { RunWork } from './session.js'

type PassWork = Pick<RunWork, 'passes' | 'sync' | 'signal'>
type Batches = Iterable<Batch> | AsyncIterable<Batch>

/** The last pass of all ranks with a sharded model. */
interface LastPass<Item> {
  /** Whether this is the last batch of this rank. */
  isOf(batch: Item): boolean
  begin(): void
  /** See `ModelShards.begin`. */
  onPast(unit: number): void
}

interface PassPurpose<Item> {
  readonly gradients: boolean
  readonly last?: LastPass<Item>
}

/**
 * Makes a pass of each batch, until the signal is aborted; returns whether it was. With a sharded model, all ranks make as many
 * passes as the one with the most batches (a rank without a batch only provides its part of the weights), and the signal of any
 * rank counts.
 */
export async function eachPass<Item>(
  { passes, sync, signal }: PassWork,
  batches: Iterable<Item> | AsyncIterable<Item>,
  purpose: PassPurpose<Item>,
  pass: (batch: Item) => Promise<void>,
): Promise<boolean> {
  const { shards } = passes
  if (shards) return eachPassOfShards(shards, { passes, sync, signal }, batches, purpose, pass)
  for await (const batch of batches) {
    if (signal?.aborted) return true
    await pass(batch)
  }
  return false
}

async function eachPassOfShards<Item>(
  shards: NonNullable<RunWork['passes']['shards']>,
  { sync, signal }: PassWork,
  batches: Iterable<Item> | AsyncIterable<Item>,
  { gradients, last }: PassPurpose<Item>,
  pass: (batch: Item) => Promise<void>,
): Promise<boolean> {
  const iterator = Symbol.asyncIterator in batches ? batches[Symbol.asyncIterator]() : batches[Symbol.iterator]()
  for (;;) {
    const next = await iterator.next()
    const more = !next.done && !last?.isOf(next.value)
    const flags = await sync.agree({ pass: !next.done, more, drop: signal?.aborted ?? false })
    if (flags.drop || !flags.pass) return flags.drop
    const isLast = last && !flags.more
    if (isLast) last.begin()
    shards.begin(gradients, isLast ? (unit) => last.onPast(unit) : undefined)
    try {
      if (!next.done) await pass(next.value)
    } catch (error) {
      throw shards.failure() ?? error
    } finally {
      // A rank that fails still provides its weights until the ranks meet.
      shards.end()
    }
    if (isLast) return false
  }
}

/**
 * Returns the batches of a step with what the objective has to know of all of them before the loss of the first, over all ranks;
 * null if a rank's signal is aborted meanwhile.
 */
export async function withStepSums(
  { objective: { stepSums }, passes, sync, signal }: PassWork & Pick<RunWork, 'objective'>,
  batches: Batches,
): Promise<({ batches: Batches } & Pick<LossOptions, 'stepSums'>) | null> {
  if (!stepSums) return { batches }
  const all: Batch[] = []
  const own = new Float64Array(stepSums.length)
  for await (const batch of batches) {
    if (signal?.aborted) break
    all.push(batch)
    for (const [i, value] of (await stepSums.of(passes, batch)).entries()) own[i]! += value
  }
  const sums = await sync.sum([...own], { drop: signal?.aborted ?? false })
  return sums && { batches: all, stepSums: [...sums] }
}
