import { elementsOf } from '../native.js'
import type { Meetings } from './meetings.js'
import type { TrainedParameter } from './trainable.js'

/** Bytes of a bucket at least, but for the last: smaller ones take longer to begin than to send. */
const LEAST_BYTES = 2 ** 20

/** Gradients that go out as one message. */
interface Bucket {
  readonly parameters: readonly TrainedParameter[]
  /** How many of them are not final yet. */
  missing: number
}

/**
 * The gradients of one step, added up over all ranks: bucket by bucket in the same order on every rank, each on its way as soon
 * as it and those before it are final.
 */
export class GradientSum {
  readonly #buckets: readonly Bucket[]
  readonly #bucketOf = new Map<object, Bucket>()
  /** Whether a backward pass of this rank has reached each parameter. */
  readonly #reached = new Map<TrainedParameter, boolean>()
  /** How many buckets are on their way, or have arrived, and when all of them have. */
  #sent = 0
  #arrived: Promise<void> = Promise.resolve()

  constructor(
    private readonly meetings: Meetings,
    private readonly parameters: readonly TrainedParameter[],
  ) {
    this.#buckets = meetings.isAlone ? [] : bucketsOf(parameters)
    for (const bucket of this.#buckets) for (const one of bucket.parameters) this.#bucketOf.set(one, bucket)
  }

  /** Says that nothing is added to a gradient of this rank any more; undefined where nobody waits for it. */
  get onGradient(): ((parameter: object) => void) | undefined {
    return this.#buckets.length > 0 ? (parameter) => this.#final(parameter) : undefined
  }

  /** Sends what is left, and resolves when all are added up. Other ranks wait for it even if this one has failed. */
  async finish(): Promise<void> {
    while (this.#sent < this.#buckets.length) this.#send()
    await this.#arrived
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
    while (this.#buckets[this.#sent]?.missing === 0) this.#send()
  }

  #send(): void {
    const { parameters } = this.#buckets[this.#sent++]!
    for (const parameter of parameters) this.#reached.set(parameter, parameter.grad !== null)
    const gradients = parameters.map((parameter) => parameter.ensureGrad())
    this.#arrived = this.#arrived.then(() => this.meetings.sumGradients(gradients))
    this.#arrived.catch(() => {}) // finish() tells
  }
}

/** Whole blocks of the network, the last ones first: in this order backward passes reach them. */
function bucketsOf(parameters: readonly TrainedParameter[]): Bucket[] {
  const buckets: TrainedParameter[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let block: string | null = null
  for (const parameter of [...parameters].reverse()) {
    const own = blockOf(parameter.name)
    if (own !== block && bytes >= LEAST_BYTES) {
      buckets.push([])
      bytes = 0
    }
    block = own
    buckets.at(-1)!.push(parameter)
    bytes += 4 * elementsOf(parameter.shape)
  }
  return buckets.map((one) => ({ parameters: one, missing: one.length }))
}

/** The name up to the first number: `model.layers.3` of what block 3 has. */
function blockOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name
}
