/** A tokenizer whose tokens can be seen: the pieces that it is given, and single characters. */
import type { Tokenizer } from '../../../lib/data/tokenizer/tokenizer.js'

export interface Pieces {
  /** Special tokens: ends of turns, marks of tools. */
  special?: readonly string[]
  /** Tokens that were added and are not special. */
  added?: readonly string[]
  /** Ordinary tokens of several characters; the longest that fits is taken, from left to right. */
  pieces?: readonly string[]
  bos?: string
}

export function tokenizerOf({ special = ['<e>', '<s>', '<t>'], added = [], pieces = [], bos }: Pieces = {}): Tokenizer {
  const own = [...special, ...added, ...pieces].sort((a, b) => b.length - a.length)
  const id = (token: string) => (own.includes(token) ? own.indexOf(token) : own.length + token.codePointAt(0)!)
  const encode = (text: string): number[] => {
    const ids: number[] = []
    for (let at = 0; at < text.length; ) {
      const token = own.find((piece) => text.startsWith(piece, at)) ?? text[at]!
      ids.push(id(token))
      at += token.length
    }
    return ids
  }
  const tokenOf = (one: number) => own[one] ?? String.fromCodePoint(one - own.length)
  return {
    encode,
    encodeContinuation: encode,
    tokenOf,
    decode: (ids: readonly number[]) => ids.map(tokenOf).join(''),
    specialIds: new Set(special.map(id)),
    addedIds: new Set([...special, ...added].map(id)),
    bosId: bos === undefined ? undefined : id(bos),
    bosToken: bos,
  } as Partial<Tokenizer> as Tokenizer
}
