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

/** One token to read. */
interface OneToken {
  readonly ids: ArrayLike<number>
  /** The sequence's number of tokens with it. */
  readonly known: number
  /** The memory's rows of its tokens; null: rows 0, 1, … */
  readonly rows: ArrayLike<number> | null
}

interface StepFacts {
  /** Everything that the forward pass depends on besides its inputs. */
  readonly state: readonly unknown[]
  /** The most rows of a sequence; null: rows 0, 1, … */
  readonly capacity: number | null
  /** The place of the sequence's states. */
  readonly slot: number
}

/**
 * The forward pass of one token, recorded and enqueued again for each that follows: hundreds of operations become one call.
 * It keeps the memory of all intermediate results.
 */
export class TokenStep implements Disposable {
  /** [id, position, row, 0, 1, 0, known, rows …] */
  readonly #values: Tensor
  readonly #inputs: TokenInputs
  #calls = 0
  #recording: NativeRecording | null = null
  #logits: Tensor | null = null

  /** @param forward returns the logits [1, V] */
  constructor(
    device: NativeDevice,
    readonly facts: StepFacts,
    readonly forward: (inputs: TokenInputs) => Tensor,
  ) {
    const { capacity, slot } = facts
    this.#values = keep(Tensor.zeros([7 + (capacity ?? 0)], { device, dtype: 'int32' }))
    const part = (from: number, count: number) => keep(this.#values.view([count], [1], from))
    this.#inputs = {
      ids: part(0, 1),
      positions: part(1, 1),
      rows: part(2, 1),
      queryOffsets: part(3, 2),
      keyOffsets: part(5, 2),
      keyRows: capacity === null ? null : part(7, capacity),
      sequences: [{ from: 0, to: 1, slot }],
    }
  }

  /** Whether everything that the forward pass depends on is unchanged. */
  fits(state: readonly unknown[]): boolean {
    const { state: own } = this.facts
    return state.length === own.length && state.every((value, i) => value === own[i])
  }

  /** Returns the logits [1, V] of the token after this one. */
  next({ ids, known, rows }: OneToken): Tensor {
    const values = new Int32Array(7 + (rows ? known : 0))
    values.set([ids[0]!, known - 1, rows ? rows[known - 1]! : known - 1, 0, 1, 0, known])
    for (let token = 0; rows && token < known; token++) values[7 + token] = rows[token]!
    using changed = this.#values.view([values.length])
    changed.assign(values)
    // Whatever the first call makes for all later ones, such as converted weights, is not recorded.
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
