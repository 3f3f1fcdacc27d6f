import type { TokenRow } from '../data/encode.js'

export interface WindowOptions {
  /** Tokens that are seen at once. */
  window: number
  /** Tokens from one window to the next; at most `window`. */
  stride: number
}

export interface Window extends TokenRow {
  /** Tokens that no earlier window had. */
  newTokens: number
}

/**
 * Cuts a text into windows. Each predicts the tokens that no earlier window had, except its own first, which is context.
 * With a stride below the window, the tokens that it shares with the window before are context too.
 */
export function* windowsOf(ids: Int32Array, { window, stride }: WindowOptions): Generator<Window> {
  let seen = 0
  for (let start = 0; seen < ids.length; start += stride) {
    const end = Math.min(start + window, ids.length)
    const firstTarget = Math.max(seen - start, 1)
    const newTokens = end - seen
    seen = end
    if (firstTarget >= end - start) continue
    yield {
      ids: ids.subarray(start, end),
      mask: new Uint8Array(end - start).fill(1, firstTarget),
      newTokens,
    }
  }
}
