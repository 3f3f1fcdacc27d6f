// The arithmetic and the bytes of a step on a large frozen base with an adapter of LoRA's size on every linear layer.
//
// Letters: T tokens, D hidden, F features of the MLP, H, K query and key-value heads, E head size, V vocabulary.
import { attentionPairs } from '../training/bound.mjs'

/** Sizes of Llama 2 as published. */
export const bases = {
  '7B': { layers: 32, hiddenSize: 4096, intermediateSize: 11008, heads: 32, keyValueHeads: 32, vocabularySize: 32000 },
  '70B': { layers: 80, hiddenSize: 8192, intermediateSize: 28672, heads: 64, keyValueHeads: 8, vocabularySize: 32000 },
}

/** `[in, out]` of a block's linear layers. */
function linearsOf({ hiddenSize: D, intermediateSize: F, heads: H, keyValueHeads: K }) {
  const keys = (D / H) * K
  return [...[D, keys, keys, D].map((out) => [D, out]), [D, F], [D, F], [F, D]]
}

const sumOf = (values) => values.reduce((sum, value) => sum + value, 0)

/** Weights of a block, but for its norms. */
export const blockWeights = (base) => sumOf(linearsOf(base).map(([i, o]) => i * o))

/** Trained parameters of a block: factors of rank r beside each linear layer. */
export const adapterParameters = (base, rank) => rank * sumOf(linearsOf(base).map(([i, o]) => i + o))

/**
 * Seconds of a rank's own work on documents of `lengths` tokens at a rate [FLOP/s]: frozen weights have a forward product and
 * dX, no dW; attention 2 products forward and 5 backward, of 2 E H a pair.
 * @returns {import('./step-model.mjs').Work}
 */
export function workOf(base, { lengths, rank, rate }) {
  const tokens = sumOf(lengths)
  const { layers, hiddenSize, vocabularySize } = base
  const product = 2 * tokens * blockWeights(base)
  const adapter = 2 * tokens * adapterParameters(base, rank)
  const attention = 2 * hiddenSize * attentionPairs(lengths)
  const each = (flops) => new Array(layers).fill(flops / rate)
  return {
    forward: each(product + adapter + 2 * attention),
    backward: each(product + 2 * adapter + 5 * attention),
    head: (2 * 2 * tokens * hiddenSize * vocabularySize) / rate,
    rest: 0,
  }
}
