// A lower bound of the time of a training step, from this machine's measured peaks (common/peaks.mjs):
//
//   bound = Σ products (flops / peak of that shape and form)         frozen weights: forward and dX, no dW
//         + adapters' flops / best peak                               what cannot join a frozen weight's product
//         + attention's flops over causal pairs / best peak           2 products forward, 5 backward, of 2 E H a pair
//         + bytes of the operations between products / bandwidth      each input read once, each output written once
//
// Letters: T tokens, D hidden, F features of the MLP, H, K query and key-value heads, E head size, V vocabulary; a bytes
// of an activation.
import { adaptersOf, productsOf } from './model-sizes.mjs'

/**
 * Seconds of each part and their sum. `lengths`: tokens of each document; `targets`: tokens that have one, all if left out.
 * @param {{ config: any, linears: any[], method: any, lengths: number[], targets?: number, dtype: string, fastBfloat16: boolean, peaks: any }} what
 */
export function boundOf({ config, linears, method, lengths, targets, dtype, fastBfloat16, peaks }) {
  const tokens = lengths.reduce((sum, length) => sum + length, 0)
  // W + ΔW in bfloat16 would lose small updates: there, adapters are products of their own.
  const adapters = adaptersOf(method, linears, dtype === 'float32' || !fastBfloat16)
  const a = dtype === 'bfloat16' ? 2 : 4
  const best = peaks.best * 1e9
  const parts = {
    products: productSeconds(productsOf(config, tokens, targets), peaks.products),
    adapters: adapters.reduce((sum, { multiplied }) => sum + 2 * tokens * multiplied, 0) / best,
    attention: attentionFlops(config, lengths) / best,
    memory:
      (blockBytes(config, tokens, targets ?? tokens, a) + adapterBytes(adapters, tokens, a)) / (peaks.bandwidth * 1e9),
  }
  return { parts, seconds: Object.values(parts).reduce((sum, part) => sum + part, 0) }
}

function productSeconds(products, peaks) {
  let seconds = 0
  for (const { name, rows, inFeatures, outFeatures, forward, dX } of products) {
    const flops = 2 * rows * inFeatures * outFeatures
    seconds += (flops * forward) / (peaks[name].forward * 1e9) + (flops * dX) / (peaks[name].dX * 1e9)
  }
  return seconds
}

function attentionFlops({ layers, heads, headSize }, lengths) {
  return layers * (2 + 5) * 2 * headSize * heads * attentionPairs(lengths)
}

/** Queries and the keys that they see. */
export const attentionPairs = (lengths) => lengths.reduce((sum, length) => sum + (length * (length + 1)) / 2, 0)

/** Operations between the model's own products. */
function blockBytes(config, T, targets, a) {
  const {
    layers,
    hiddenSize: D,
    intermediateSize: F,
    heads: H,
    keyValueHeads: K,
    headSize: E,
    vocabularySize: V,
  } = config
  const normBackward = 2 * 4 * T * D * a // read dY, x and the residual's gradient, write the sum
  const rotaryBackward = 2 * T * (H + K) * E * a
  const gateBackward = 5 * T * F * a // read dY, gate and up, write two gradients
  const loss = targets * V * (4 + a) // read float32 logits, write their gradient
  return forwardBytes(config, T, a) + layers * (normBackward + rotaryBackward + gateBackward) + loss
}

/** The same of a forward pass without the head. */
export function forwardBytes(
  { layers, hiddenSize: D, intermediateSize: F, heads: H, keyValueHeads: K, headSize: E },
  T,
  a,
) {
  const residualAndNorm = 2 * 4 * T * D * a // read x and what is added, write their sum and the normed
  const rotary = 2 * T * (H + K) * E * a // read and write q and k
  const gate = 3 * T * F * a // read gate and up, write their product
  return layers * (residualAndNorm + rotary + gate) + 2 * T * D * a // the embedding
}

/** Passes over activations that the sharing operators add, and the optimizer's over parameters. */
function adapterBytes(adapters, T, a) {
  let bytes = 0
  for (const { kind, side, inFeatures, outFeatures, wantsInputGradient, sharesInput, parameters } of adapters) {
    // AdamW reads parameter, gradient and two moments, writes three; the norm reads the gradient once more.
    bytes += parameters * 4 * (7 + 1)
    if (kind !== 'groups') continue
    const compress = sharesInput ? 0 : inFeatures + side
    const compressBackward = sharesInput || !wantsInputGradient ? 0 : side + 2 * inFeatures
    const spread = side + 2 * outFeatures // adds to what the frozen product left
    const spreadBackward = outFeatures + side
    bytes += T * a * (compress + compressBackward + spread + spreadBackward)
  }
  return bytes
}
