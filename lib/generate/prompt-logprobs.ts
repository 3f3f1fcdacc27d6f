/** Log-probabilities of prompts; concurrent requests share forward passes. */
import { setImmediate } from 'node:timers/promises'
import { packBatch } from '../batches/packing.js'
import type { ModelView } from '../models/index.js'
import { type RankedToken, rankTokens } from '../tensor/operations/sampling.js'

/** On a CPU, products of fewer rows round otherwise in bfloat16: numbers would depend on what is read beside a prompt. */
const FEWEST_ROWS = 65
/** Tokens of a pass, and prompts: more would take memory and not be faster on a CPU. A longer prompt has a pass of its own. */
const MOST_TOKENS = 2048
const MOST_PROMPTS = 8

/** The ranks of a prompt's tokens. */
interface RankedPrompt {
  /** Each token after the first, given those before it. */
  readonly tokens: readonly RankedToken[]
  /** The likeliest token after the prompt. */
  readonly next: RankedToken
}

/** Of a prompt. */
interface PromptFacts {
  readonly view: ModelView
  readonly ids: readonly number[]
  /** Length of the lists of likeliest tokens. */
  readonly top: number
}

/** A prompt that waits for a pass. */
interface Waiting extends PromptFacts {
  /** Of everybody who asked for it. */
  readonly signals: (AbortSignal | undefined)[]
  readonly ranked: Promise<RankedPrompt>
  readonly resolve: (ranked: RankedPrompt) => void
  readonly reject: (error: unknown) => void
}

/** Ranks the tokens of prompts of one model, several in a forward pass; equal ones that wait, once. */
export class PromptScorer {
  readonly #waiting = new Map<string, Waiting>()
  #isWorking = false

  /**
   * Ranks the tokens of a prompt of at least one token.
   *
   * @throws the reason of an aborted signal
   */
  async rank(prompt: PromptFacts, signal?: AbortSignal): Promise<RankedPrompt> {
    signal?.throwIfAborted()
    const key = `${prompt.view.choice} ${prompt.top} ${prompt.ids.join()}`
    const waiting = this.#waiting.get(key) ?? beginWaiting(prompt)
    waiting.signals.push(signal)
    this.#waiting.set(key, waiting)
    if (!this.#isWorking) void this.#work()
    try {
      return await waiting.ranked
    } finally {
      signal?.throwIfAborted()
    }
  }

  async #work(): Promise<void> {
    this.#isWorking = true
    while (this.#waiting.size > 0) {
      // What is asked for in this turn of the event loop joins.
      await setImmediate()
      const pass = this.#nextPass()
      try {
        const ranked = pass.length > 0 ? await rankTogether(pass) : []
        for (const [i, one] of ranked.entries()) pass[i]!.resolve(one)
      } catch (error) {
        for (const { reject } of pass) reject(error)
      }
    }
    this.#isWorking = false
  }

  /** Takes the prompts of the next pass, which have the same adapters, and rejects cancelled ones. */
  #nextPass(): Waiting[] {
    const pass: Waiting[] = []
    let tokens = 0
    for (const [key, waiting] of this.#waiting) {
      const [first = waiting] = pass
      const isLeft = waiting.signals.every((signal) => signal?.aborted)
      if (!isLeft && waiting.view.choice !== first.view.choice) continue
      if (!isLeft && pass.length > 0 && tokens + waiting.ids.length > MOST_TOKENS) break
      this.#waiting.delete(key)
      if (isLeft) waiting.reject(waiting.signals[0]!.reason)
      else pass.push(waiting)
      tokens += waiting.ids.length
      if (pass.length === MOST_PROMPTS) break
    }
    return pass
  }
}

function beginWaiting(prompt: PromptFacts): Waiting {
  let [resolve, reject]: [Waiting['resolve'], Waiting['reject']] = [() => {}, () => {}]
  const ranked = new Promise<RankedPrompt>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  return { ...prompt, signals: [], ranked, resolve, reject }
}

async function rankTogether(prompts: readonly PromptFacts[]): Promise<RankedPrompt[]> {
  const [{ view }] = prompts as [PromptFacts]
  const known = prompts.reduce((sum, { ids }) => sum + ids.length, 0)
  const filling = new Array<number>(Math.max(0, FEWEST_ROWS - known)).fill(0)
  const documents = [...prompts.map(({ ids }) => ids), filling].filter(({ length }) => length > 0)
  const batch = packBatch(documents.map((ids, row) => ({ ids, mask: new Uint8Array(ids.length), row })))
  // After the last token of a prompt any one is ranked: the list of the likeliest is what counts.
  const targets = documents.flatMap((ids) => [...ids.slice(1), 0])
  const most = Math.max(1, ...prompts.map(({ top }) => top))
  using output = await view.forwardAsync(batch, { gradients: false })
  const ranked: RankedToken[] = []
  const chunks = Math.floor(targets.length / FEWEST_ROWS)
  for (let chunk = 0; chunk < chunks; chunk++) {
    const [from, to] = [chunk, chunk + 1].map((end) => Math.floor((end * targets.length) / chunks)) as [number, number]
    using logits = output.logits(from, to)
    ranked.push(...(await rankTokens(logits, targets.slice(from, to), most)))
  }
  return prompts.map(({ ids, top }) => {
    const own = ranked.splice(0, ids.length)
    const { top: after } = own.pop()!
    const tokens = own.map((token) => ({ ...token, top: token.top.slice(0, top) }))
    return { tokens, next: { ...after[0]!, rank: 1, top: after.slice(0, top) } }
  })
}
