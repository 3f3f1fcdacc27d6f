/** A model that knows texts by heart: after a prompt it says the reply, else EOS. */
import type { Batch } from '../../lib/data/batch.js'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import type { TokenCache, TokenChoice } from '../../lib/generate/index.js'

/** Probability of the token that the script wants next; the others share the rest. */
export const WANTED = 0.9

export interface Script {
  prompt: readonly number[]
  reply: readonly number[]
}

class ScriptedCache implements TokenCache {
  #ids: number[] = []
  disposed = false

  constructor(readonly capacity: number) {}

  get ids(): readonly number[] {
    return this.#ids
  }

  get length(): number {
    return this.#ids.length
  }

  rewind(tokens: number): number {
    this.#ids.length = Math.min(tokens, this.#ids.length)
    return this.#ids.length
  }

  push(ids: ArrayLike<number>): void {
    this.#ids.push(...Array.from(ids))
    if (this.#ids.length > this.capacity) throw new RangeError('The cache is full.')
  }

  dispose(): void {
    this.disposed = true
  }
}

export class ScriptedModel {
  readonly path = ''
  readonly config: { eosIds: number[]; maxPositions: number; vocabularySize: number }
  readonly provenance: { templateHash?: string } = {}
  readonly adapterSet = { activeNames: () => ['math'], provenance: () => this.provenance }
  readonly caches: ScriptedCache[] = []
  /** How many tokens each call of `next` and `nextToken` read. */
  readonly reads: number[] = []
  /** The options of each requested token. */
  readonly choices: TokenChoice[] = []
  /** How many rows each forward pass without a cache had. */
  readonly passes: number[] = []

  constructor(
    readonly tokenizer: Tokenizer,
    readonly scripts: readonly Script[],
    { maxPositions = 1024 } = {},
  ) {
    this.config = { eosIds: [tokenizer.eosId!], maxPositions, vocabularySize: tokenizer.vocabularySize }
  }

  setDropout(): void {}

  createCache(capacity: number): ScriptedCache {
    const cache = new ScriptedCache(capacity)
    this.caches.push(cache)
    return cache
  }

  async nextLogits(ids: ArrayLike<number>, cache: TokenCache): Promise<Float32Array> {
    const before = this.#read(ids, cache)
    return Float32Array.from({ length: this.config.vocabularySize }, (_, id) => this.#logProb(before, id))
  }

  /** Returns the script's token, whatever the sampling options. */
  async nextToken(ids: ArrayLike<number>, cache: TokenCache, choice: TokenChoice): Promise<number> {
    this.choices.push(choice)
    return this.#wantedAfter(this.#read(ids, cache))
  }

  async tokenLogProbs(batch: Batch): Promise<Float32Array> {
    this.passes.push(batch.rows)
    const values: number[] = []
    for (let document = 0; document < batch.rows; document++) {
      const ids = [...batch.ids.subarray(batch.offsets[document], batch.offsets[document + 1])]
      for (let t = 0; t < ids.length; t++) {
        const target = batch.targets[batch.offsets[document]! + t]!
        if (target >= 0) values.push(this.#logProb(ids.slice(0, t + 1), target))
      }
    }
    return Float32Array.from(values)
  }

  #read(ids: ArrayLike<number>, cache: TokenCache): readonly number[] {
    const scripted = cache as ScriptedCache
    scripted.push(ids)
    this.reads.push(ids.length)
    return scripted.ids
  }

  #logProb(before: readonly number[], id: number): number {
    const wanted = this.#wantedAfter(before)
    return Math.log(id === wanted ? WANTED : (1 - WANTED) / (this.config.vocabularySize - 1))
  }

  #wantedAfter(before: readonly number[]): number {
    for (const { prompt, reply } of this.scripts) {
      const whole = [...prompt, ...reply]
      const follows = before.length >= prompt.length && before.every((id, i) => whole[i] === id)
      if (follows && before.length < whole.length) return whole[before.length]!
    }
    return this.tokenizer.eosId!
  }
}
