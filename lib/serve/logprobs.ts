/** Log-probabilities as OpenAI's two routes have them. */
import type { FirstToken, TokenText } from '../generate/index.js'

/** Returns the bytes of a token's text; null if the token is a part of a character. */
const bytesOf = (token: string): number[] | null => (token.includes('\ufffd') ? null : [...Buffer.from(token)])

const entry = ({ token, logprob }: Omit<TokenText, 'top'>) => ({ token, logprob, bytes: bytesOf(token) })

/** Returns the log-probabilities of a chat's choice or of a piece of it. */
export function chatLogProbs(tokens: readonly TokenText[] | undefined): object | null {
  if (tokens === undefined) return null
  return { content: tokens.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) })), refusal: null }
}

/** Returns the log-probabilities of a token of a response, which has no bytes for a part of a character. */
export function responseLogProb(token: TokenText): object {
  const whole = (one: Omit<TokenText, 'top'>) => ({ ...entry(one), bytes: bytesOf(one.token) ?? [] })
  return { ...whole(token), top_logprobs: token.top.map(whole) }
}

/**
 * Returns the log-probabilities of a completion or of a piece of it. The token itself is among the likeliest of its place, if need
 * be as one more.
 *
 * @param offset where the text begins, in UTF-16 units
 */
export function completionLogProbs(tokens: readonly (TokenText | FirstToken)[], offset = 0) {
  let end = offset
  const starts = tokens.map(({ token }) => {
    const start = end
    end += token.length
    return start
  })
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map((token) => (token.logprob === null ? null : bestOf(token))),
    text_offset: starts,
  }
}

/** Returns log-probabilities by text; of several tokens with the same text, the likeliest counts. */
function bestOf(token: TokenText): Record<string, number> {
  const best: Record<string, number> = {}
  for (const one of [...token.top, token]) best[one.token] ??= one.logprob
  return best
}
