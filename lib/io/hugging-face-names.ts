/** GGUF's names of the Llama family's tensors, as Hugging Face's checkpoints call them, and the order of their rows. */
import { UsageError } from '../errors.js'

const outer: Record<string, string> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
}

const inLayer: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
}

/**
 * The divisors [headDim / 2] of the rotary frequencies. Hugging Face has no such tensor: it is kept under GGUF's name,
 * and `ropeScalingFromFactors` turns its values into the configuration's `rope_scaling`.
 */
export const ropeFactorsName = 'rope_freqs.weight'

/**
 * Hugging Face's name of a Llama tensor in a GGUF file: `blk.3.attn_q.weight` is
 * `model.layers.3.self_attn.q_proj.weight`. `rope_freqs.weight` keeps its name.
 * @throws UsageError `unknown-tensor`: a tensor that Llama does not have would silently be left out of the model
 */
export function huggingFaceName(ggufName: string): string {
  if (ggufName === ropeFactorsName) return ggufName
  const [, layer, stem = '', kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(ggufName) ?? []
  const names = layer === undefined ? outer : inLayer
  const renamed = Object.hasOwn(names, stem) ? names[stem] : undefined
  if (renamed === undefined) {
    throw new UsageError(
      'unknown-tensor',
      `The GGUF file has a tensor ${ggufName}, which the Llama architecture does not know.`,
    )
  }
  return layer === undefined ? `${renamed}.${kind}` : `model.layers.${layer}.${renamed}.${kind}`
}

/**
 * The order that turns GGUF's query and key rows into Hugging Face's: row r of the Hugging Face weight (or bias) is row
 * `order[r]` of GGUF's.
 *
 * llama.cpp rotates adjacent pairs (2j, 2j + 1) of a head, Hugging Face the pairs (j, j + headDim / 2): the same
 * rotation after the rows of each head are interleaved. Rows are whole blocks of a quantised format, so raw rows may be
 * permuted.
 *
 * @param heads query heads for `attn_q`, key-value heads for `attn_k`
 * @returns [heads · headDim]
 */
export function unpermuteRows(heads: number, headDim: number): Int32Array {
  const half = headDim / 2
  return Int32Array.from({ length: heads * headDim }, (_, row) => {
    const inHead = row % headDim
    return row - inHead + 2 * (inHead % half) + Math.floor(inHead / half)
  })
}

/** The row order of a tensor by its GGUF name, or null if its rows are in Hugging Face's order already. */
export function rowOrder(
  ggufName: string,
  config: { num_attention_heads: number; num_key_value_heads: number; head_dim: number },
): Int32Array | null {
  const projection = /^blk\.\d+\.attn_([qk])\.(?:weight|bias)$/.exec(ggufName)?.[1]
  if (projection === undefined) return null
  return unpermuteRows(projection === 'q' ? config.num_attention_heads : config.num_key_value_heads, config.head_dim)
}
