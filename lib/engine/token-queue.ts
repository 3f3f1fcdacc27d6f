import type { RankedToken } from '../tensor/operations/sampling.js'

/** Why generation ended: at a stop token or string, or at the limit of tokens. */
export type FinishReason = 'stop' | 'length'

/** A generated token, with its log-probability if that was requested. */
export interface NewToken extends Partial<RankedToken> {
  /** Its id. */
  readonly id: number
}

/** The generated tokens of one sequence, from the engine to the caller. */
export class TokenQueue {
  readonly #tokens: NewToken[] = []
  #end: { reason: FinishReason } | { error: unknown } | null = null
  #wake: (() => void) | null = null

  /** Whether no more tokens will come. */
  get ended(): boolean {
    return this.#end !== null
  }

  push(token: NewToken): void {
    this.#tokens.push(token)
    this.#wake?.()
  }

  finish(reason: FinishReason): void {
    this.#end ??= { reason }
    this.#wake?.()
  }

  fail(error: unknown): void {
    this.#end ??= { error }
    this.#wake?.()
  }

  /** Yields the tokens as they come, and returns the finish reason. */
  async *read(): AsyncGenerator<NewToken, FinishReason> {
    for (;;) {
      const token = this.#tokens.shift()
      if (token) yield token
      else if (!this.#end)
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      else if ('error' in this.#end) throw this.#end.error
      else return this.#end.reason
    }
  }
}
