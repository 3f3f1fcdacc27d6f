// Lower bounds of the time to read a prompt and to generate, from this machine's measured peaks.
import { storedBytes } from '../common/internals.mjs'
import { attentionPairs, forwardBytes } from '../training/bound.mjs'
import { productsOf } from '../training/model-sizes.mjs'

const bytesOf = { bfloat16: 2, float32: 4 }

/** The products of reading `tokens`, without the head's, which sees one row only. */
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
export function decodingBound({ config, weights, prompt, tokens, dtype, bandwidth }) {
  const { layers, keyValueHeads, headSize } = config
  const bytes = weights.reduce((sum, { dtype, shape: [rows, columns] }) => sum + storedBytes(dtype, rows * columns), 0)
  const cached = layers * 2 * keyValueHeads * headSize * (prompt + tokens / 2)
  return (tokens * (bytes + cached * bytesOf[dtype])) / (bandwidth * 1e9)
}
