import type { HostRanks } from './host-memory.js'
import type { Ranks } from './ranks.js'
import { keep } from './scope.js'
import { Tensor } from './tensor.js'

/** Ranks that store a model's weights together. All of them make these calls in the same order. */
export interface ShardRanks extends HostRanks, Pick<Ranks, 'broadcast'> {
  /**
   * Lets all ranks gather this rank's parts (uint8 [n] each). Every rank has the same number of parts, of the same lengths.
   *
   * @internal
   */
  share(parts: readonly Tensor[]): Promise<SharedParts>
}

/** Parts that every rank can gather from all. */
export interface SharedParts {
  /** Gathers part `index` of every rank, by rank, into `all` (uint8 [size, n]), once everything enqueued before is done. */
  gather(index: number, all: Tensor): Gathering
}

/** A gathering that is under way. */
interface Gathering {
  /** Makes operations enqueued from here on wait for the bytes. */
  wait(): void
  /** Rejects if a rank is lost; operations enqueued after `wait` then fail too, or have read arbitrary bytes. */
  readonly done: Promise<void>
}

/** Weights gathered together. */
interface ShardUnit {
  /** Whether it is a block, one of many used in sequence: the next is gathered while one is in use. */
  readonly isBlock: boolean
  /** Indices of its parts. */
  readonly parts: readonly number[]
}

/** Memory of a gathered unit. */
interface Place {
  readonly from: number
  readonly to: number
  readonly parts: readonly { readonly index: number; readonly all: Tensor }[]
}

/**
 * Weights; every rank stores 1 / size of them. A unit is gathered, in stream order, when it is used; there is memory for two
 * blocks, or for the largest other unit. All ranks gather the same units in the same order, which each pass declares in advance.
 */
export class Shards implements Disposable {
  readonly #memory: Tensor
  readonly #places: readonly Place[]
  /** The gatherings into each place's memory; null once `bring` has waited for them. */
  readonly #gatherings = new Map<Place, readonly Gathering[] | null>()
  /** Units in the order in which the running pass uses them; how many it has used, and how many are gathered or under way. */
  #order: readonly number[] = []
  #used = 0
  #begun = 0
  #onPast: ((unit: number) => void) | undefined
  #isFresh = false
  #failure: unknown = null
  readonly #shared: SharedParts

  /** @param own this rank's parts, owned by this object from now on */
  constructor(
    readonly ranks: Pick<ShardRanks, 'rank' | 'size'>,
    readonly own: readonly Tensor[],
    shared: SharedParts,
    units: readonly ShardUnit[],
  ) {
    this.#shared = shared
    const sizeOf = (index: number) => ranks.size * own[index]!.elements
    const sizes = units.map(({ parts }) => parts.reduce((sum, index) => sum + sizeOf(index), 0))
    const largest = (blocks: boolean) => Math.max(0, ...sizes.filter((_, i) => units[i]!.isBlock === blocks))
    const block = largest(true)
    const bytes = Math.max(2 * block, largest(false))
    this.#memory = keep(Tensor.empty([bytes], { device: own[0]!.device, dtype: 'uint8' }))
    let blocks = 0
    this.#places = units.map(({ isBlock, parts }) => {
      const from = isBlock ? block * (blocks++ % 2) : 0
      let to = from
      const placed = parts.map((index) => {
        const start = to
        to += sizeOf(index)
        return { index, all: keep(this.#memory.view([to - start], [1], start)) }
      })
      return { from, to, parts: placed }
    })
  }

  /** The first error of a gathering; null if all succeeded so far. */
  get failure(): unknown {
    return this.#failure
  }

  /** Returns the memory of a part while its unit is gathered. */
  memoryOf(part: number): Tensor {
    return this.#places.flatMap(({ parts }) => parts).find(({ index }) => index === part)!.all
  }

  /** Gathers a unit for operations enqueued from here on, until another unit replaces it. */
  bring(unit: number): void {
    const place = this.#places[unit]!
    this.#isFresh = false
    if (this.#gatherings.get(place) !== null) {
      const at = this.#order.indexOf(unit, this.#used)
      this.#used = at < 0 ? this.#order.length : at
      this.#startUpTo(at < 0 ? this.#used : at + 1)
      for (const gathering of this.#start(unit)) gathering.wait()
      this.#gatherings.set(place, null)
    }
    if (this.#order[this.#used] !== unit) return
    this.#used++
    const next = this.#order[this.#used]
    const isFree = next !== undefined && !overlap(place, this.#places[next]!)
    this.#startUpTo(this.#used + Number(isFree))
  }

  /**
   * Begins a pass that uses units in this order, and ends the pass before. Calling it again before a unit is used does nothing.
   * @param onPast called with each unit after its last use, between the same gatherings on all ranks
   */
  begin(order: readonly number[], onPast?: (unit: number) => void): void {
    if (this.#isFresh) return
    this.end()
    this.#order = order
    this.#onPast = onPast
    this.#isFresh = true
  }

  /** Ends the pass: gathers the units that it has not used, since other ranks may use them. */
  end(): void {
    const { length } = this.#order
    this.#startUpTo(length)
    for (const last of [length - 2, length - 1]) this.#reportPast(last)
    this.#order = []
    this.#used = 0
    this.#begun = 0
    this.#onPast = undefined
    this.#isFresh = false
  }

  dispose(): void {
    const views = this.#places.flatMap(({ parts }) => parts.map(({ all }) => all))
    for (const tensor of [...this.own, ...views, this.#memory]) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Gathers the first `count` units of the order. The unit before the next may still be in use; earlier ones are not. */
  #startUpTo(count: number): void {
    while (this.#begun < count) {
      this.#reportPast(this.#begun - 2)
      this.#start(this.#order[this.#begun++]!)
    }
  }

  #reportPast(place: number): void {
    const unit = this.#order[place]
    if (unit !== undefined && !this.#order.includes(unit, place + 1)) this.#onPast?.(unit)
  }

  /** Starts to gather a unit over one whose readers have been enqueued. */
  #start(unit: number): readonly Gathering[] {
    const place = this.#places[unit]!
    const known = this.#gatherings.get(place)
    if (known !== undefined) return known ?? []
    for (const other of this.#gatherings.keys()) if (overlap(other, place)) this.#gatherings.delete(other)
    const gatherings = place.parts.map(({ index, all }) => this.#shared.gather(index, all))
    for (const { done } of gatherings) {
      done.catch((error: unknown) => {
        this.#failure ??= error
      })
    }
    this.#gatherings.set(place, gatherings)
    return gatherings
  }
}

function overlap(one: Place, other: Place): boolean {
  return one.from < other.to && other.from < one.to
}
