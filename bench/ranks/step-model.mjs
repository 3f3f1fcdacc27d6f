// Predicts the time of a step of data parallel training on N ranks, from a model of one rank: one stream that computes block by
// block, and one link that sends requests in order. All ranks are alike, so one stands for all.
//
// Times are in seconds, sizes in bytes, bandwidths in bytes per second. `latency` is that of one message, with the work for it
// at both ends.

/** @typedef {{ ranks: number, latency: number, bandwidth: number }} Network */
/**
 * Seconds of a rank's own work: each block forward and backward, the head between both passes, and the rest after the gradients
 * (clipping and the optimizer).
 * @typedef {{ forward: number[], head: number, backward: number[], rest: number }} Work
 */
/**
 * Gradients that go out as one message, once the backward pass has left the block `upTo`.
 * @typedef {{ bytes: number, upTo: number }} Bucket
 */

/**
 * Bytes that each rank sends in a ring all-reduce: every part of 1/N is sent N−1 times to be summed, and N−1 times to be
 * copied.
 * @param {number} ranks
 * @param {number} bytes
 */
export const ringBytes = (ranks, bytes) => (2 * (ranks - 1) * bytes) / ranks

/**
 * The least seconds of an all-reduce by a ring: 2 (N−1) messages, each after the other.
 * @param {Network} network
 * @param {number} bytes
 */
export const reduceSeconds = ({ ranks, latency, bandwidth }, bytes) =>
  2 * (ranks - 1) * latency + ringBytes(ranks, bytes) / bandwidth

/**
 * The least seconds in which all ranks gather what each has 1/N of: N−1 messages, each after the other.
 * @param {Network} network
 * @param {number} bytes of the whole
 */
export const gatherSeconds = ({ ranks, latency, bandwidth }, bytes) =>
  (ranks - 1) * latency + ringBytes(ranks, bytes) / 2 / bandwidth

/**
 * Buckets of whole blocks, the last blocks first, of at least `least` bytes except the last bucket, as training makes them.
 * @param {number[]} blockBytes of the gradients of each block
 * @param {number} least
 * @returns {Bucket[]}
 */
export function bucketsOf(blockBytes, least) {
  /** @type {Bucket[]} */
  const buckets = []
  for (const [upTo, bytes] of [...blockBytes.entries()].reverse()) {
    const open = buckets.at(-1)
    if (open && open.bytes < least) Object.assign(open, { bytes: open.bytes + bytes, upTo })
    else buckets.push({ bytes, upTo })
  }
  return buckets
}

/**
 * A step. `sums` are the sums of a few numbers that ranks make before the first pass and after the gradients have come.
 * `shard`: bytes of each block's weights, of which a rank keeps 1/N; a block is gathered before each of its passes, while the
 * one before it computes.
 * @param {{ work: Work, buckets: Bucket[], network: Network, sums?: { before: number, after: number }, shard?: number[] }} what
 * @returns {{ seconds: number, sending: number, exposed: number }} the step; how long gradients were in transit; and how long
 *   after the backward pass the last of them arrived
 */
export function stepTime({ work, buckets, network, sums = { before: 0, after: 0 }, shard }) {
  const smallSum = reduceSeconds(network, 0)
  let free = sums.before * smallSum
  const send = (at, seconds) => {
    free = Math.max(free, at) + seconds
    return free
  }
  const blocks = work.forward.map((_, i) => i)
  const passes = [
    ...blocks.map((block) => ({ block, seconds: work.forward[block], isBackward: false })),
    ...blocks.toReversed().map((block) => ({ block, seconds: work.backward[block], isBackward: true })),
  ]
  const gathered = (at, pass) => (shard && pass ? send(at, gatherSeconds(network, shard[pass.block])) : 0)

  let clock = free
  let sending = 0
  let arrived = clock
  let there = gathered(clock, passes[0])
  for (const [i, { block, seconds, isBackward }] of passes.entries()) {
    if (i === blocks.length) clock += work.head
    clock = Math.max(clock, there)
    there = gathered(clock, passes[i + 1])
    clock += seconds
    for (const { bytes } of isBackward ? buckets.filter(({ upTo }) => upTo === block) : []) {
      const time = reduceSeconds(network, bytes)
      sending += time
      arrived = send(clock, time)
    }
  }
  const exposed = Math.max(0, arrived - clock)
  return { seconds: clock + exposed + sums.after * smallSum + work.rest, sending, exposed }
}

/**
 * Efficiency: the time of one rank alone with as many rows as each of N ranks has, as a share of N ranks' time.
 * @param {Parameters<typeof stepTime>[0]} what
 */
export function efficiencyOf(what) {
  const alone = stepTime({ ...what, network: { ...what.network, ranks: 1 }, shard: undefined })
  return alone.seconds / stepTime(what).seconds
}

/** Minimum bytes of a bucket, except the last; see lib/train/gradient-sum.ts. */
export const leastBytes = 2 ** 20

/** In a step of training; see lib/train/rank-sync.ts: whether to go on; what the step computed, and whether to keep it. */
export const sumsOfStep = { before: 1, after: 1 }
