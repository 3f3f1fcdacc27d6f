/**
 * Cuts text between characters that no token joins.
 *
 * A BPE merge only ever makes a token of the vocabulary. Where two neighbouring characters stand side by side in no
 * token, no merge can cross them, so both sides may be encoded on their own and give the same ids. SentencePiece models
 * have no word splitting of their own, and BPE over one huge string is slow; cut like this it is as fast as with words.
 */

/** Returns a function that cuts a string into pieces, in order, whose encodings concatenated are that of the whole. */
export function tokenCuts(vocabulary: Iterable<string>): (text: string) => string[] {
  const joined = new Set<number>()
  for (const token of vocabulary) {
    for (let i = 1; i < token.length; i++) joined.add(unitPair(token, i))
  }
  return (text) => {
    const pieces: string[] = []
    let start = 0
    for (let i = 1; i < text.length; i++) {
      if (joined.has(unitPair(text, i)) || isLowSurrogate(text.charCodeAt(i))) continue
      pieces.push(text.slice(start, i))
      start = i
    }
    if (start < text.length) pieces.push(text.slice(start))
    return pieces
  }
}

/** UTF-16 units before and at `i` as one number: a pair of characters that occurs in a token contains such a pair. */
function unitPair(text: string, i: number): number {
  return text.charCodeAt(i - 1) * 0x10000 + text.charCodeAt(i)
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}
