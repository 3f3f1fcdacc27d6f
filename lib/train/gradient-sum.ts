import { elementsOf } from '../native/addon.js'
import type { RankSync } from './rank-sync.js'
import type { PassModel, TrainedParameter } from './trainable.js'

/** Bytes of a bucket at least, but for the last: smaller ones take longer to begin than to send. */
const LEAST_BYTES = 2 ** 20

/** Gradients that go out as one message. */
interface Bucket {
  readonly parameters: readonly TrainedParameter[]
  /** How many of them are not final yet. */
  missing: number
  isSent: boolean
}

/**
 * The gradients of one step, added up over all ranks: bucket by bucket in the same order on every rank, each on its way as soon
 * as it and those before it are final. Ranks with a model in shards send them between the same gatherings of weights.
 */
export class GradientSum {
  readonly #buckets: readonly Bucket[]
  readonly #bucketOf = new Map<object, Bucket>()
  /** Parameters by the unit that they belong to, of a model in shards. */
  readonly #ofUnit = new Map<number | null, TrainedParameter[]>()
  /** Whether a backward pass of this rank has reached each parameter. */
  readonly #reached = new Map<TrainedParameter, boolean>()
  /** When each bucket that is on its way has arrived. */
  readonly #sums: Promise<void>[] = []
  #hasBegun = false

  /**
   * @param shards of a model in shards
   * @param leastBytes of a bucket
   */
  constructor(
    private readonly sync: RankSync,
    private readonly parameters: readonly TrainedParameter[],
    private readonly shards: PassModel['shards'] = null,
    leastBytes = LEAST_BYTES,
  ) {
    this.#buckets = sync.ranks.size === 1 ? [] : bucketsOf(parameters, leastBytes)
    for (const bucket of this.#buckets) for (const one of bucket.parameters) this.#bucketOf.set(one, bucket)
    if (!shards) return
    for (const one of parameters) {
      const unit = shards.unitOf(one.name)
      this.#ofUnit.set(unit, [...(this.#ofUnit.get(unit) ?? []), one])
    }
  }

  /** Says that the last pass of a model in shards begins. */
  begin(): void {
    this.#hasBegun = true
  }

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** Says that the pass adds no more to a gradient of this rank; undefined where nobody waits for it. */
  get onGradient(): ((parameter: object) => void) | undefined {
    if (this.#buckets.length === 0) return undefined
    return this.shards ? (parameter) => this.#requireUnsent(parameter) : (parameter) => this.#final(parameter)
  }

  /** Says that all ranks are beyond a unit of a model in shards. */
  onPast(unit: number): void {
    for (const one of this.#ofUnit.get(unit) ?? []) this.#final(one)
  }

  /** Sends what is left, and resolves when all are added up. Other ranks wait for it even if this one has failed. */
  async finish(): Promise<void> {
    while (this.#sums.length < this.#buckets.length) this.#send()
    await Promise.all(this.#sums)
  }

  /** 1 of each parameter that a backward pass of this rank has reached. */
  get reached(): number[] {
    return this.parameters.map((parameter) => Number(this.#reached.get(parameter) ?? parameter.grad !== null))
  }

  /** @param reached of how many ranks; a parameter of none stays without a gradient, as with one rank */
  keepReached(reached: ArrayLike<number>): void {
    for (const [i, parameter] of this.parameters.entries()) if (reached[i] === 0) parameter.zeroGrad()
  }

  #final(parameter: object): void {
    const bucket = this.#bucketOf.get(parameter)
    if (!bucket || --bucket.missing > 0) return
    while (this.#buckets[this.#sums.length]?.missing === 0) this.#send()
  }

  /** Where it was sent, ranks would train with half of it. */
  #requireUnsent(parameter: object): void {
    if (this.#bucketOf.get(parameter)?.isSent) throw new Error('A gradient was sent before it was final.')
  }

  #send(): void {
    const bucket = this.#buckets[this.#sums.length]!
    const { parameters } = bucket
    bucket.isSent = true
    for (const parameter of parameters) this.#reached.set(parameter, parameter.grad !== null)
    const gradients = parameters.map((parameter) => parameter.ensureGrad())
    const sum = this.sync.sumGradients(gradients)
    sum.catch(() => {}) // finish() tells
    this.#sums.push(sum)
  }
}

/** Whole blocks of the network, the last ones first: in this order backward passes reach them. */
function bucketsOf(parameters: readonly TrainedParameter[], leastBytes: number): Bucket[] {
  const buckets: TrainedParameter[][] = []
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
  return buckets.map((one) => ({ parameters: one, missing: one.length, isSent: false }))
}

/** The name up to the first number: `model.layers.3` of what block 3 has. */
function blockOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name
}
