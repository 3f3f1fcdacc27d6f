import { RunError, UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { GatheredWeight } from '../../tensor/gathered-weight.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { WeightSlot } from '../network/weight-slot.js'
import type { MergeAdapterOptions } from './adapter-options.js'
import type { AdaptedModel, ModelAdapter, WeightEdit } from './model-adapter.js'

/** The adapters that are merged into a model's own weights: each weight is the pristine one after their edits, in order. */
export class MergedWeights {
  readonly #merged: ModelAdapter[] = []
  /** Weights without what is merged, where no file has these values: random, trained or permanently changed ones. */
  readonly #pristine = new Map<WeightSlot, Tensor>()
  /** Weights that were changed permanently: they differ from their file. */
  readonly #changed = new Set<WeightSlot>()
  /** The version of each weight when it was loaded, or last changed here. */
  readonly #versions = new WeakMap<Tensor, number>()
  /** Weights whose memory the program had changed before a merge. */
  readonly #ofProgram = new Set<WeightSlot>()

  constructor(readonly model: Pick<AdaptedModel, 'device' | 'source' | 'slots'>) {
    this.#recordVersions()
  }

  async merge(adapter: ModelAdapter, options: MergeAdapterOptions): Promise<{ merged: number }> {
    const { name, edits } = adapter
    const { signal } = options
    signal?.throwIfAborted()
    if (adapter.merged) throw new UsageError('already-merged', `Adapter ${name} is merged already.`)
    this.#noticeChanges()
    for (const slot of edits.keys()) ownFloats(slot)
    adapter.merged = true
    this.#merged.push(adapter)
    try {
      await this.#edit(name, edits, signal)
      return { merged: edits.size }
    } catch (error) {
      await this.unmerge(adapter)
      throw error
    }
  }

  async #edit(name: string, edits: ReadonlyMap<WeightSlot, WeightEdit>, signal?: AbortSignal): Promise<void> {
    using nonFinite = this.#counter()
    for (const [slot, edit] of edits) {
      const own = ownFloats(slot)
      if (!this.#isInFile(slot) && !this.#pristine.has(slot)) this.#pristine.set(slot, copyOf(own))
      edit(own, nonFinite)
      this.#markChanged(slot)
      if (!signal) continue
      // Otherwise all weights would be in the device's queue before the signal can arrive.
      await this.model.device.synchronize()
      signal.throwIfAborted()
    }
    const bad = await nonFinite.item()
    if (bad === 0) return
    throw new RunError(
      'non-finite',
      `Merging adapter ${name} gives ${bad} weights that are not finite; nothing was changed.`,
    )
  }

  /**
   * Removes this adapter's part from the weights and restores the rest bit for bit. If it fails, it can be called again.
   * @throws UsageError `not-merged`, `changed-weights` if the program has changed such a weight since the merge
   */
  async unmerge(adapter: ModelAdapter): Promise<void> {
    const { name, edits, merged } = adapter
    if (!merged) throw new UsageError('not-merged', `Adapter ${name} is not merged.`)
    const changed = [...edits.keys()].find((slot) => this.#hasOtherVersion(slot))
    if (changed) {
      throw new UsageError(
        'changed-weights',
        `${changed.name} was changed after ${name} was merged into it, and unmerging would lose that: save the model, and load it again.`,
      )
    }
    this.#noticeChanges()
    const at = this.#merged.indexOf(adapter)
    if (at >= 0) this.#merged.splice(at, 1)
    for (const slot of edits.keys()) {
      this.#fill(slot, ownFloats(slot))
      this.#markChanged(slot)
      if (this.#editsOf(slot).length === 0 && !this.#isRounded(slot)) this.#forgetPristine(slot)
    }
    await this.model.device.synchronize()
    adapter.merged = false
  }

  /**
   * Changes weights permanently: merged adapters can still be unmerged, this change cannot. A weight that is not float32 also
   * keeps a float32 copy from then on, so that many small changes add up before they are rounded.
   * @throws RunError `non-finite` if a result is not finite; the weights are spoilt then
   */
  async changeForGood(edits: ReadonlyMap<WeightSlot, WeightEdit>): Promise<void> {
    for (const slot of edits.keys()) ownFloats(slot)
    this.#noticeChanges()
    using nonFinite = this.#counter()
    for (const [slot, edit] of edits) {
      const own = ownFloats(slot)
      const exact = this.#exact(slot)
      edit(exact, nonFinite)
      this.#changed.add(slot)
      if (exact !== own) this.#fill(slot, own)
      this.#markChanged(slot)
    }
    const bad = await nonFinite.item()
    if (bad > 0) throw new RunError('non-finite', `Merging for good gives ${bad} weights that are not finite.`)
  }

  /** Whether any weight was changed permanently. */
  get changedForGood(): boolean {
    return this.#changed.size > 0
  }

  /** Returns a weight with what is merged into it, in float32: never rounded if its file has it. The caller disposes it. */
  values(slot: WeightSlot): Tensor {
    const values = keep(Tensor.empty(slot.own.shape, { device: this.model.device }))
    this.fill(slot, values)
    return values
  }

  /** Writes the result of `values` into float32 memory of the weight's shape. */
  fill(slot: WeightSlot, values: Tensor): void {
    if (this.#isInFile(slot) || (this.#pristine.has(slot) && !this.#hasOtherVersion(slot))) this.#fill(slot, values)
    else values.copyFrom(ownFloats(slot))
  }

  /** Whether a weight equals its file's. */
  isAsStored(slot: WeightSlot): boolean {
    return this.#isInFile(slot) && this.#editsOf(slot).length === 0
  }

  /** Makes the current weights the pristine ones. Returns the adapters that were merged. */
  absorb(): ModelAdapter[] {
    for (const tensor of this.#pristine.values()) tensor.dispose()
    this.#pristine.clear()
    return this.#merged.splice(0)
  }

  /** The float32 values that a weight is rounded from: itself, or a copy that is kept beside it. */
  #exact(slot: WeightSlot): Tensor {
    const own = ownFloats(slot)
    const pristine = this.#pristine.get(slot)
    if (pristine?.dtype === 'float32') return pristine
    if (own.dtype === 'float32' && this.#editsOf(slot).length === 0) return own
    const exact = keep(Tensor.empty(own.shape, { device: this.model.device }))
    if (pristine || !this.#isInFile(slot)) exact.copyFrom(pristine ?? own)
    else this.model.source!.loadInto(slot.name, exact)
    this.#forgetPristine(slot)
    this.#pristine.set(slot, exact)
    return exact
  }

  /** Whether a weight's values are rounded from a float32 copy. */
  #isRounded(slot: WeightSlot): boolean {
    return slot.own.storage !== 'float32' && this.#changed.has(slot)
  }

  #forgetPristine(slot: WeightSlot): void {
    this.#pristine.get(slot)?.dispose()
    this.#pristine.delete(slot)
  }

  #fill(slot: WeightSlot, into: Tensor): void {
    const pristine = this.#pristine.get(slot)
    if (pristine) into.copyFrom(pristine)
    else this.model.source!.loadInto(slot.name, into)
    using nonFinite = this.#counter()
    for (const edit of this.#editsOf(slot)) edit(into, nonFinite)
  }

  #editsOf(slot: WeightSlot): WeightEdit[] {
    return this.#merged.flatMap(({ edits }) => edits.get(slot) ?? [])
  }

  #isInFile(slot: WeightSlot): boolean {
    const { source } = this.model
    const isChanged = this.#changed.has(slot) || this.#ofProgram.has(slot) || this.#hasOtherVersion(slot)
    return source?.shapes.has(slot.name) === true && slot.own.parameter === null && !isChanged
  }

  /** Whether the program has changed a frozen weight since it was loaded, or last changed here. */
  #hasOtherVersion({ own: { floats, parameter } }: WeightSlot): boolean {
    const known = floats && !parameter ? this.#versions.get(floats) : undefined
    return known !== undefined && known !== floats!.version
  }

  /** Marks a weight as changed, so that what was computed from it is computed again. */
  #markChanged(slot: WeightSlot): void {
    ownFloats(slot).version++
    this.#recordVersions()
  }

  #noticeChanges(): void {
    for (const slot of this.model.slots) if (this.#hasOtherVersion(slot)) this.#ofProgram.add(slot)
  }

  /** Records all versions, since weights may share memory, and so their version. */
  #recordVersions(): void {
    for (const { own } of this.model.slots) if (own.floats) this.#versions.set(own.floats, own.floats.version)
  }

  #counter(): Tensor {
    return keep(Tensor.zeros([1], { device: this.model.device, dtype: 'int32' }))
  }
}

/** Returns a weight that can be changed in place: only floats can. */
function ownFloats({ name, own }: WeightSlot): Tensor {
  if (own instanceof GatheredWeight) {
    throw new UsageError(
      'sharded-weights',
      `Merging would change ${name}, which ranks hold in parts: load the model without shard.`,
    )
  }
  if (own.floats) return own.floats
  throw new UsageError(
    'quantised-weights',
    `Merging would change ${name}, which is kept in its block format ${own.storage}: load the model without ${theOption('quantised')} and ${theOption('quantise')}.`,
  )
}

function copyOf(tensor: Tensor): Tensor {
  const copy = keep(Tensor.empty(tensor.shape, tensor))
  copy.copyFrom(tensor)
  return copy
}
