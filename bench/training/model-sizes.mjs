import { squareSide } from '../../dist/adapters/square-side.js'
import { liveBlocks } from '../../dist/tensor/operations/mora.js'

/** Bytes of logits that the loss holds at one time; see lib/tensor/operations/loss.ts. */
const logitsBudget = 48 * 2 ** 20

/** The frozen products of a model, x [T, in] W [out, in]ᵀ, and how many of each a forward pass has. */
export function productsOf({ hiddenSize: D, intermediateSize: F, heads, keyValueHeads, headSize, vocabularySize, layers }, tokens) {
  const chunk = Math.min(tokens, Math.floor(logitsBudget / (4 * vocabularySize)))
  const linear = (name, inFeatures, outFeatures, skipped = 0) => {
    return { name, rows: tokens, inFeatures, outFeatures, forward: layers, dX: layers - skipped }
  }
  return [
    // Nothing before the first block is trained: its x wants no gradient.
    linear('qkv', D, (heads + 2 * keyValueHeads) * headSize, 1),
    linear('o', heads * headSize, D),
    linear('gate/up', D, 2 * F),
    linear('down', F, D),
    { ...linear('head', D, vocabularySize), rows: chunk, forward: tokens / chunk, dX: tokens / chunk },
  ]
}

/** The adapted layers, with what an adapter of `method` multiplies and moves for each token. */
export function adaptersOf(method, linears) {
  return linears.map(({ name, inFeatures, outFeatures }) => {
    const base = { name, inFeatures, outFeatures, wantsInputGradient: !/layers\.0\.self_attn\.[qkv]_proj/.test(name) }
    if (method.name === 'lora') {
      const parameters = method.rank * (inFeatures + outFeatures)
      return { ...base, kind: 'factors', parameters, multiplied: parameters }
    }
    const side = squareSide(inFeatures, outFeatures, method.rank, method.name)
    const parameters = side * side
    if (method.name.startsWith('sharing')) return { ...base, kind: 'groups', side, parameters, multiplied: parameters }
    const plan = { inFeatures, outFeatures, side, truncate: method.name === 'truncation', foldOutput: false }
    return { ...base, kind: 'blocks', side, parameters, multiplied: blockMultiplications(plan) }
  })
}

/** Multiplications a token of the block operators: live blocks of R × R, less the rows that are cut by d. */
function blockMultiplications({ inFeatures, outFeatures, side, truncate, ...rest }) {
  if (truncate) return Math.min(side, inFeatures) * Math.min(side, outFeatures)
  const live = liveBlocks({ inFeatures, outFeatures, side, truncate, ...rest })
  return Math.min(live * side, outFeatures) * side
}
