/** A tokenizer with visible tokens: given pieces, and single characters. */
import type { AddedToken } from '../../../lib/text/masks/token-marks.js'
import type { TokenPlaces } from '../../../lib/text/tokenizer/engine.js'
import type { PlacedTokens, Tokenizer } from '../../../lib/text/tokenizer.js'

export interface Pieces {
  /** Special tokens: ends of turns, marks of tools. */
  special?: readonly string[]
  /** Tokens that were added and are not special. */
  added?: readonly string[]
  /** Ordinary tokens of several characters; the longest that fits is taken, from left to right. */
  pieces?: readonly string[]
  bos?: string
}

/** Encodes at once, too. */
export type VisibleTokenizer = Tokenizer & {
  added: readonly AddedToken[]
  placed(text: string): PlacedTokens & TokenPlaces
  alone(text: string): number[]
}

/** Adds functions for the places of tokens. */
export const withPlaces = (tokens: PlacedTokens): PlacedTokens & TokenPlaces => ({
  ...tokens,
  startOf: (token) => tokens.starts[token]!,
  endOf: (token) => tokens.ends[token]!,
})

export function tokenizerOf({
  special = ['<e>', '<s>', '<t>'],
  added = [],
  pieces = [],
  bos,
}: Pieces = {}): VisibleTokenizer {
  const own = [...special, ...added, ...pieces].sort((a, b) => b.length - a.length)
  const id = (token: string) => (own.includes(token) ? own.indexOf(token) : own.length + token.codePointAt(0)!)
  const placed = (text: string) => {
    const ids: number[] = []
    const starts: number[] = []
    for (let at = 0; at < text.length; ) {
      const token = own.find((piece) => text.startsWith(piece, at)) ?? text[at]!
      ids.push(id(token))
      starts.push(at)
      at += token.length
    }
    return withPlaces({ ids, starts, ends: [...starts.slice(1), text.length] })
  }
  const encode = async (text: string) => placed(text).ids
  const tokenOf = (one: number) => own[one] ?? String.fromCodePoint(one - own.length)
  return {
    encode,
    encodeWithPlaces: async (text: string) => placed(text),
    added: [...special, ...added].map((text) => ({ text, isSpecial: special.includes(text) })),
    placed,
    alone: (text: string) => placed(text).ids,
    encodeContinuation: encode,
    tokenOf,
    decode: async (ids: readonly number[]) => ids.map(tokenOf).join(''),
    specialIds: new Set(special.map(id)),
    addedIds: new Set([...special, ...added].map(id)),
    bosId: bos === undefined ? undefined : id(bos),
    bosToken: bos,
  } as Partial<VisibleTokenizer> as VisibleTokenizer
}
