import { squareSide } from 'node-mora'
import { liveSections } from '../common/internals.mjs'

/** Bytes of logits that the loss holds at one time; see lib/tensor/operations/loss.ts. */
const logitsBudget = 48 * 2 ** 20

/**
 * The frozen products of a model, x [T, in] W [out, in]ᵀ, and how many of each a forward pass has. `targets`: tokens that
 * reach the head.
 */
export function productsOf(
  { hiddenSize: D, intermediateSize: F, heads, keyValueHeads, headSize, vocabularySize, layers },
  tokens,
  targets = tokens,
) {
  const chunk = Math.min(targets, Math.floor(logitsBudget / (4 * vocabularySize)))
  const linear = (name, inFeatures, outFeatures, skipped = 0) => {
    return { name, rows: tokens, inFeatures, outFeatures, forward: layers, dX: layers - skipped }
  }
  return [
    // Nothing before the first block is trained: its x needs no gradient.
    linear('qkv', D, (heads + 2 * keyValueHeads) * headSize, 1),
    linear('o', heads * headSize, D),
    linear('gate/up', D, 2 * F),
    linear('down', F, D),
    { ...linear('head', D, vocabularySize), rows: chunk, forward: targets / chunk, dX: targets / chunk },
  ]
}

/**
 * The adapted layers, with the multiplications of an adapter of `method` for each token in a step. `joins`: ΔW is added to W
 * where that takes no product, so that only the gradients of the adapter are left. `sharesInput`: an earlier layer
 * compresses the same x the same way.
 */
export function adaptersOf(method, linears, joins) {
  const compressed = new Set()
  return linears.map(({ name, inFeatures, outFeatures }) => {
    // Nothing before the first block is trained: its input needs no gradient.
    const wantsInputGradient = !/layers\.0\.self_attn\.[qkv]_proj$/.test(name)
    const base = { name, inFeatures, outFeatures, wantsInputGradient }
    if (method.name === 'lora') {
      const [a, b] = [method.rank * inFeatures, method.rank * outFeatures]
      return {
        ...base,
        kind: 'factors',
        parameters: a + b,
        // x Aᵀ and dY B, then dA and dB; beside W also y and dX.
        multiplied: 2 * (a + b) + (joins ? 0 : b + (wantsInputGradient ? a : 0)),
      }
    }
    const side = squareSide(inFeatures, outFeatures, method.rank, method.name)
    const kind = method.name.startsWith('sharing') ? 'groups' : 'sections'
    const plan = { inFeatures, outFeatures, side, truncate: method.name === 'truncation', foldOutput: false }
    // z Mᵀ, dM and dZ. Sections that join W: dM alone.
    const products = kind === 'sections' && joins ? 1 : wantsInputGradient ? 3 : 2
    const multiplied = products * (kind === 'groups' ? side * side : sectionMultiplications(plan))
    const input = `${name.replace(/[qkv]_proj$/, 'qkv').replace(/(gate|up)_proj$/, 'gate/up')} ${side}`
    const sharesInput = compressed.has(input)
    compressed.add(input)
    return { ...base, kind, side, parameters: side * side, multiplied, sharesInput }
  })
}

/** Multiplications a token of the section operators: live sections of R × R, less the rows that are cut by d. */
function sectionMultiplications(plan) {
  const { inFeatures, outFeatures, side, truncate } = plan
  if (truncate) return Math.min(side, inFeatures) * Math.min(side, outFeatures)
  return Math.min(liveSections(plan) * side, outFeatures) * side
}
