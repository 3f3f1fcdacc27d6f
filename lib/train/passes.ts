import type { Session } from './session.js'

type PassSession = Pick<Session, 'passes' | 'sync' | 'signal'>

/** The last pass of all ranks with a sharded model. */
interface LastPass<Batch> {
  /** Whether this is the last batch of this rank. */
  isOf(batch: Batch): boolean
  begin(): void
  /** See `ModelShards.begin`. */
  onPast(unit: number): void
}

interface PassPurpose<Batch> {
  readonly gradients: boolean
  readonly last?: LastPass<Batch>
}

/**
 * Makes a pass of each batch, until the signal is aborted; returns whether it was. With a sharded model, all ranks make as many
 * passes as the one with the most batches (a rank without a batch only provides its part of the weights), and the signal of any
 * rank counts.
 */
export async function eachPass<Batch>(
  { passes, sync, signal }: PassSession,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  purpose: PassPurpose<Batch>,
  pass: (batch: Batch) => Promise<void>,
): Promise<boolean> {
  const { shards } = passes
  if (shards) return eachPassOfShards(shards, { passes, sync, signal }, batches, purpose, pass)
  for await (const batch of batches) {
    if (signal?.aborted) return true
    await pass(batch)
  }
  return false
}

async function eachPassOfShards<Batch>(
  shards: NonNullable<Session['passes']['shards']>,
  { sync, signal }: PassSession,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  { gradients, last }: PassPurpose<Batch>,
  pass: (batch: Batch) => Promise<void>,
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
