import type { ForwardPasses } from '../models/network/forward-passes.js'
import { elementsOf } from '../native/addon.js'
import type { Parameter } from '../tensor/parameter.js'
import type { RankSync } from './rank-sync.js'

/** Minimum size of a bucket in bytes, except the last: starting a smaller message takes longer than sending it. */
const LEAST_BYTES = 2 ** 20

/** Gradients that are sent as one message. */
interface Bucket {
  readonly parameters: readonly Parameter[]
  /** Number of parameters whose gradient is not final yet. */
  missing: number
  isSent: boolean
}

/**
 * Sums the gradients of one step over all ranks, bucket by bucket in the same order on every rank; each bucket is sent as soon
 * as it and those before it are final. Ranks with a sharded model send them between the same gatherings of weights.
 */
export class GradientSum {
  readonly #buckets: readonly Bucket[]
  readonly #bucketOf = new Map<object, Bucket>()
  /** A sharded model's parameters, by the unit that they belong to. */
  readonly #ofUnit = new Map<number | null, Parameter[]>()
  /** Whether a backward pass of this rank has reached each parameter. */
  readonly #reached = new Map<Parameter, boolean>()
  /** Resolve when each bucket that was sent has arrived. */
  readonly #sums: Promise<void>[] = []
  #hasBegun = false
  readonly #sync: RankSync
  readonly #parameters: readonly Parameter[]
  readonly #shards: ForwardPasses['shards']

  /**
   * @param shards of a sharded model
   * @param leastBytes minimum size of a bucket
   */
  constructor(
    sync: RankSync,
    parameters: readonly Parameter[],
    shards: ForwardPasses['shards'] = null,
    leastBytes = LEAST_BYTES,
  ) {
    this.#sync = sync
    this.#parameters = parameters
    this.#shards = shards
    this.#buckets = sync.ranks.size === 1 ? [] : bucketsOf(parameters, leastBytes)
    for (const bucket of this.#buckets) for (const parameter of bucket.parameters) this.#bucketOf.set(parameter, bucket)
    if (!shards) return
    for (const parameter of parameters) {
      const unit = shards.unitOf(parameter.name)
      this.#ofUnit.set(unit, [...(this.#ofUnit.get(unit) ?? []), parameter])
    }
  }

  /** Marks the start of the last pass of a sharded model. */
  begin(): void {
    this.#hasBegun = true
  }

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** The callback for gradients of this rank that are final; undefined if nothing waits for them. */
  get onGradient(): ((parameter: object) => void) | undefined {
    if (this.#buckets.length === 0) return undefined
    return this.#shards ? (parameter) => this.#requireUnsent(parameter) : (parameter) => this.#final(parameter)
  }

  /** Notes that all ranks have finished with a unit of a sharded model. */
  onPast(unit: number): void {
    for (const parameter of this.#ofUnit.get(unit) ?? []) this.#final(parameter)
  }

  /** Sends the rest, and resolves when all are summed. Other ranks wait for it even if this one has failed. */
  async finish(): Promise<void> {
    while (this.#sums.length < this.#buckets.length) this.#send()
    await Promise.all(this.#sums)
  }

  /** 1 for each parameter that a backward pass of this rank has reached, else 0. */
  get reached(): number[] {
    return this.#parameters.map((parameter) => Number(this.#reached.get(parameter) ?? parameter.grad !== null))
  }

  /** @param reached number of ranks that reached each parameter; at 0 it keeps no gradient, as with a single rank */
  keepReached(reached: ArrayLike<number>): void {
    for (const [i, parameter] of this.#parameters.entries()) if (reached[i] === 0) parameter.zeroGrad()
  }

  #final(parameter: object): void {
    const bucket = this.#bucketOf.get(parameter)
    if (!bucket || --bucket.missing > 0) return
    while (this.#buckets[this.#sums.length]?.missing === 0) this.#send()
  }

  /** Guards against adding to a gradient that was sent: ranks would train with half of it. */
  #requireUnsent(parameter: object): void {
    if (this.#bucketOf.get(parameter)?.isSent) throw new Error('A gradient was sent before it was final.')
  }

  #send(): void {
    const bucket = this.#buckets[this.#sums.length]!
    const { parameters } = bucket
    bucket.isSent = true
    for (const parameter of parameters) this.#reached.set(parameter, parameter.grad !== null)
    const gradients = parameters.map((parameter) => parameter.ensureGrad())
    const sum = this.#sync.sumGradients(gradients)
    sum.catch(() => {}) // finish() reports it
    this.#sums.push(sum)
  }
}

/** Groups parameters by whole blocks of the network, the last first: backward passes reach them in this order. */
function bucketsOf(parameters: readonly Parameter[], leastBytes: number): Bucket[] {
  const buckets: Parameter[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let block: string | null = null
  for (const parameter of [...parameters].reverse()) {
    const own = blockOf(parameter.name)
    if (own !== block && bytes >= leastBytes) {
      buckets.push([])
      bytes = 0
    }
    block = own
    buckets.at(-1)!.push(parameter)
    bytes += 4 * elementsOf(parameter.shape)
  }
  return buckets.map((bucket) => ({ parameters: bucket, missing: bucket.length, isSent: false }))
}

/** Returns the name up to the first number: `model.layers.3` for the parameters of block 3. */
function blockOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name
}
