import type { Tokenizer } from '../../text/tokenizer.js'

/**
 * Returns the token sequences of words that an answer must not contain: of each word as it begins a text, and, where these are
 * as many tokens but others, as it follows a space.
 */
export async function badWordTokens(
  tokenizer: Pick<Tokenizer, 'encodeContinuation'>,
  words: readonly string[],
): Promise<number[][]> {
  const both = words.map(async (word) => {
    const [plain, spaced] = await Promise.all([
      tokenizer.encodeContinuation(word.trimStart()),
      tokenizer.encodeContinuation(` ${word.trimStart()}`),
    ])
    return spaced.length === plain.length && spaced[0] !== plain[0] ? [plain, spaced] : [plain]
  })
  return (await Promise.all(both)).flat()
}
