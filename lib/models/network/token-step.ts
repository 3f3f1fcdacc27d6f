import { type NativeDevice, type NativeRecording, native } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { MemoryPlaces } from './mixer.js'

/** The inputs of tokens, on the device. */
export interface TokenInputs extends MemoryPlaces {
  /** [T] int32 */
  readonly ids: Tensor
  /** Positions in their sequences, [T] int32. */
  readonly positions: Tensor
}

/** The token of one sequence to decode. */
interface OneToken {
  readonly ids: ArrayLike<number>
  /** The sequence's number of tokens with it. */
  readonly known: number
  /** The memory's rows of its tokens; null: rows 0, 1, … */
  readonly rows: ArrayLike<number> | null
  /** The slot of the sequence's states. */
  readonly slot: number
}

/** Whether two passes have the same state (`Decoder.state`). */
export const isSameState = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i])

interface StepSettings {
  /** Everything that the forward pass depends on besides its inputs. */
  readonly state: readonly unknown[]
  /** The slots of the sequences' states. */
  readonly slots: readonly number[]
  /** Maximum number of rows of all sequences together; null: rows 0, 1, … of one. */
  readonly capacity: number | null
}

/**
 * The forward pass that decodes one token of each sequence, recorded once and replayed for the tokens that follow: one call enqueues
 * hundreds of operations. It keeps the memory of all intermediate results.
 */
export class TokenStep implements Disposable {
  /** Ids, positions, rows, starts of queries and of keys, and the rows of all tokens. */
  readonly #values: Tensor
  readonly #inputs: TokenInputs
  #calls = 0
  #recording: NativeRecording | null = null
  #logits: Tensor | null = null

  /** @param forward returns the logits [N, V] */
  constructor(
    device: NativeDevice,
    readonly settings: StepSettings,
    readonly forward: (inputs: TokenInputs) => Tensor,
  ) {
    const { capacity, slots } = settings
    const count = slots.length
    const before = 5 * count + 2
    this.#values = keep(Tensor.zeros([before + (capacity ?? 0)], { device, dtype: 'int32' }))
    const part = (from: number, length: number) => keep(this.#values.view([length], [1], from))
    this.#inputs = {
      ids: part(0, count),
      positions: part(count, count),
      rows: part(2 * count, count),
      queryOffsets: part(3 * count, count + 1),
      keyOffsets: part(4 * count + 1, count + 1),
      keyRows: capacity === null ? null : part(before, capacity),
      sequences: slots.map((slot, i) => ({ from: i, to: i + 1, slot })),
    }
  }

  /** Whether everything that the forward pass depends on is unchanged, and there is room for this many rows of tokens. */
  fits(state: readonly unknown[], rows: number): boolean {
    const { state: own, capacity } = this.settings
    return isSameState(state, own) && (capacity === null || rows <= capacity)
  }

  /** Returns the logits [N, V] of the tokens after these. */
  next(tokens: readonly OneToken[]): Tensor {
    const count = tokens.length
    const before = 5 * count + 2
    const hasRows = this.settings.capacity !== null
    const values = new Int32Array(before + (hasRows ? tokens.reduce((sum, { known }) => sum + known, 0) : 0))
    let keys = 0
    for (const [i, { ids, known, rows }] of tokens.entries()) {
      values[i] = ids[0]!
      values[count + i] = known - 1
      values[2 * count + i] = rows ? rows[known - 1]! : known - 1
      values[3 * count + i + 1] = i + 1
      for (let token = 0; rows && token < known; token++) values[before + keys + token] = rows[token]!
      keys += known
      values[4 * count + 1 + i + 1] = keys
    }
    using changed = this.#values.view([values.length])
    changed.assign(values)
    // The first call makes what later ones reuse, such as converted weights, and is not recorded.
    if (++this.#calls === 1) return this.forward(this.#inputs)
    if (this.#recording) {
      this.#recording.replay()
    } else {
      this.#recording = native.record(() => {
        this.#logits = keep(this.forward(this.#inputs))
      })
    }
    const logits = this.#logits!
    return logits.view(logits.shape)
  }

  dispose(): void {
    this.#recording?.dispose()
    this.#logits?.dispose()
    const { sequences: _, keyRows, ...inputs } = this.#inputs
    for (const input of [...Object.values(inputs), keyRows, this.#values]) input?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
