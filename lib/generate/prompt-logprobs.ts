/** Log-probabilities of prompts; concurrent requests share forward passes. */
import { setImmediate } from 'node:timers/promises'
import { packBatch } from '../batches/packing.js'
import type { ModelView } from '../models/index.js'
import { type RankedToken, rankTokens } from '../tensor/operations/sampling.js'

/** On a CPU, products of fewer rows round otherwise in bfloat16: results would depend on which prompts share a pass. */
const FEWEST_ROWS = 65
/** Maximum numbers of tokens and prompts of a pass: more would take memory and not be faster. A longer prompt has a pass of its own. */
const MOST_TOKENS = 2048
const MOST_PROMPTS = 8

/** The ranks of a prompt's tokens. */
interface RankedPrompt {
  /** The tokens after the first, each ranked after the tokens before it. */
  readonly tokens: readonly RankedToken[]
  /** The likeliest token after the prompt. */
  readonly next: RankedToken
}

/** A prompt to rank. */
interface PromptRequest {
  readonly view: ModelView
  readonly ids: readonly number[]
  /** Number of likeliest tokens to list. */
  readonly top: number
}

/** A prompt that waits for a pass. */
interface Waiting extends PromptRequest {
  /** Signals of all callers that wait for it. */
  readonly signals: (AbortSignal | undefined)[]
  readonly ranked: Promise<RankedPrompt>
  readonly resolve: (ranked: RankedPrompt) => void
  readonly reject: (error: unknown) => void
}

/** Ranks the tokens of prompts of one model, several in a forward pass; equal waiting prompts once. */
export class PromptScorer {
  readonly #waiting = new Map<string, Waiting>()
  #isWorking = false

  /**
   * Ranks the tokens of a prompt of at least one token.
   *
   * @throws the reason of an aborted signal
   */
  async rank(prompt: PromptRequest, signal?: AbortSignal): Promise<RankedPrompt> {
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
      // Requests of the same turn of the event loop share the pass.
      await setImmediate()
      const pass = this.#nextPass()
      try {
        const ranked = pass.length > 0 ? await rankTogether(pass) : []
        for (const [i, prompt] of ranked.entries()) pass[i]!.resolve(prompt)
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
      const isCancelled = waiting.signals.every((signal) => signal?.aborted)
      if (!isCancelled && waiting.view.choice !== first.view.choice) continue
      if (!isCancelled && pass.length > 0 && tokens + waiting.ids.length > MOST_TOKENS) break
      this.#waiting.delete(key)
      if (isCancelled) waiting.reject(waiting.signals[0]!.reason)
      else pass.push(waiting)
      tokens += waiting.ids.length
      if (pass.length === MOST_PROMPTS) break
    }
    return pass
  }
}

function beginWaiting(prompt: PromptRequest): Waiting {
  let [resolve, reject]: [Waiting['resolve'], Waiting['reject']] = [() => {}, () => {}]
  const ranked = new Promise<RankedPrompt>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  return { ...prompt, signals: [], ranked, resolve, reject }
}

async function rankTogether(prompts: readonly PromptRequest[]): Promise<RankedPrompt[]> {
  const [{ view }] = prompts as [PromptRequest]
  const known = prompts.reduce((sum, { ids }) => sum + ids.length, 0)
  const filling = new Array<number>(Math.max(0, FEWEST_ROWS - known)).fill(0)
  const documents = [...prompts.map(({ ids }) => ids), filling].filter(({ length }) => length > 0)
  const batch = packBatch(documents.map((ids, row) => ({ ids, mask: new Uint8Array(ids.length), row })))
  // The token ranked after a prompt is arbitrary: only the list of likeliest tokens is used.
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
