// The least time that reading a prompt and generating can take on this machine, from what it was measured to do.
import { attentionPairs, forwardBytes } from '../training/bound.mjs'
import { productsOf } from '../training/model-sizes.mjs'

const bytesOf = { bfloat16: 2, float32: 4 }

/** The products of reading `tokens`; the head's is left out, since it sees one row only. */
export const readingProducts = (config, tokens) => productsOf(config, tokens).filter(({ name }) => name !== 'head')

/** Seconds of reading `tokens` of one document: its products, attention over causal pairs, memory, and one row of the head. */
export function readingBound({ config, tokens, dtype, peaks, bandwidth }) {
  let seconds = 0
  for (const { name, rows, inFeatures, outFeatures, forward } of readingProducts(config, tokens))
    seconds += (2 * rows * inFeatures * outFeatures * forward) / (peaks.products[name].forward * 1e9)
  const { layers, heads, headSize, hiddenSize, vocabularySize } = config
  seconds += (layers * 2 * 2 * headSize * heads * attentionPairs([tokens])) / (peaks.best * 1e9)
  const head = hiddenSize * vocabularySize * bytesOf[dtype]
  return seconds + forwardBytes(config, tokens, bytesOf[dtype]) / (peaks.bandwidth * 1e9) + head / (bandwidth * 1e9)
}

/** Seconds of reading every weight, and the keys and values so far, once for each of `tokens` after a prompt. */
export function decodingBound({ config, linears, prompt, tokens, dtype, bandwidth }) {
  const { layers, keyValueHeads, headSize, hiddenSize, vocabularySize } = config
  const weights = linears.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0)
  const head = hiddenSize * vocabularySize
  const cached = layers * 2 * keyValueHeads * headSize * (prompt + tokens / 2)
  return (tokens * (weights + head + cached) * bytesOf[dtype]) / (bandwidth * 1e9)
}
