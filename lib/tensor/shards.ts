import type { HostRanks } from './host-memory.js'
import type { Ranks } from './ranks.js'
import { keep } from './scope.js'
import { Tensor } from './tensor.js'

/** Ranks that hold the weights of a model together. All of them call these in the same order. */
export interface ShardRanks extends HostRanks, Pick<Ranks, 'broadcast'> {
  /** Lets all ranks gather what this one holds (uint8 [n] each). Every rank has as many parts, of the same lengths. */
  share(parts: readonly Tensor[]): Promise<SharedParts>
}

/** Parts that every rank can gather from all. */
export interface SharedParts {
  /** Part `index` of every rank, by rank, into `all` (uint8 [size, n]), once what was enqueued before is done. */
  gather(index: number, all: Tensor): Gathering
}

/** Parts of all ranks on their way to one. */
export interface Gathering {
  /** What is enqueued from here on finds the bytes there. */
  wait(): void
  /** Rejects where a rank is lost; what was enqueued after `wait` then does too, or has found any bytes. */
  readonly done: Promise<void>
}

/** Weights that are gathered together. */
export interface UnitOfShards {
  /** Whether it is one of many, which come one after the other: the next is on its way while one is used. */
  readonly isBlock: boolean
  /** Which of the parts it is made of. */
  readonly parts: readonly number[]
}

/** Where a unit lies once it is gathered. */
interface Place {
  readonly from: number
  readonly to: number
  readonly parts: readonly { readonly index: number; readonly all: Tensor }[]
}

/**
 * Weights of which every rank holds 1 / size. A unit is gathered, in stream order, when it is used; there is memory for two
 * blocks, or for the largest other unit. All ranks gather the same units in the same order: a pass says beforehand which.
 */
export class Shards implements Disposable {
  readonly #memory: Tensor
  readonly #places: readonly Place[]
  /** What lies in the memory, or is on its way there: then how it is waited for. */
  readonly #held = new Map<Place, readonly Gathering[] | null>()
  /** Units in the order in which the running pass needs them: how many it has used, and how many are there or on their way. */
  #order: readonly number[] = []
  #used = 0
  #begun = 0
  #onPast: ((unit: number) => void) | undefined
  #isFresh = false
  #failure: unknown = null

  /** @param own this rank's parts, which become the object's own */
  constructor(
    readonly ranks: Pick<ShardRanks, 'rank' | 'size'>,
    readonly own: readonly Tensor[],
    private readonly shared: SharedParts,
    units: readonly UnitOfShards[],
  ) {
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

  /** Why a unit could not be gathered, where one could not; null until then. */
  get failure(): unknown {
    return this.#failure
  }

  /** Where a part of a unit lies while the unit is there. */
  memoryOf(part: number): Tensor {
    return this.#places.flatMap(({ parts }) => parts).find(({ index }) => index === part)!.all
  }

  /** What is enqueued from here on finds a unit's weights in their memory, until another takes its place. */
  bring(unit: number): void {
    const place = this.#places[unit]!
    this.#isFresh = false
    if (this.#held.get(place) !== null) {
      const at = this.#order.indexOf(unit, this.#used)
      this.#used = at < 0 ? this.#order.length : at
      this.#startUpTo(at < 0 ? this.#used : at + 1)
      for (const gathering of this.#start(unit)) gathering.wait()
      this.#held.set(place, null)
    }
    if (this.#order[this.#used] !== unit) return
    this.#used++
    const next = this.#order[this.#used]
    const isFree = next !== undefined && !overlap(place, this.#places[next]!)
    this.#startUpTo(this.#used + Number(isFree))
  }

  /**
   * Begins a pass, which needs units in this order; once for the first use of any. One before is at its end.
   * @param onPast is told of each unit after its last use, between the same gatherings on all ranks
   */
  begin(order: readonly number[], onPast?: (unit: number) => void): void {
    if (this.#isFresh) return
    this.end()
    this.#order = order
    this.#onPast = onPast
    this.#isFresh = true
  }

  /** Gathers what the pass has not used, since other ranks may. */
  end(): void {
    const { length } = this.#order
    this.#startUpTo(length)
    for (const last of [length - 2, length - 1]) this.#tellPast(last)
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

  /** Gathers so many units of the order. The one before the next may still be in use, those before that are not. */
  #startUpTo(count: number): void {
    while (this.#begun < count) {
      this.#tellPast(this.#begun - 2)
      this.#start(this.#order[this.#begun++]!)
    }
  }

  #tellPast(place: number): void {
    const unit = this.#order[place]
    if (unit !== undefined && !this.#order.includes(unit, place + 1)) this.#onPast?.(unit)
  }

  /** Whatever lies there by now has been used: what reads it was enqueued before. */
  #start(unit: number): readonly Gathering[] {
    const place = this.#places[unit]!
    const known = this.#held.get(place)
    if (known !== undefined) return known ?? []
    for (const other of this.#held.keys()) if (overlap(other, place)) this.#held.delete(other)
    const gatherings = place.parts.map(({ index, all }) => this.shared.gather(index, all))
    for (const { done } of gatherings) {
      done.catch((error: unknown) => {
        this.#failure ??= error
      })
    }
    this.#held.set(place, gatherings)
    return gatherings
  }
}

function overlap(one: Place, other: Place): boolean {
  return one.from < other.to && other.from < one.to
}
