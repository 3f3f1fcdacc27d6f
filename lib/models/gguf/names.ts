/** Translates GGUF's tensor names to those of Hugging Face's checkpoints, and the order of their rows. */
import { quoted, UsageError } from '../../common/errors.js'
import type { ModelSizes } from '../network/model-config.js'

type Names = Readonly<Record<string, string>>

/** Hugging Face's module paths by GGUF's names. */
export interface GgufNames {
  readonly outer: Names
  /** Within `blk.N`, under `blocks.N`. */
  readonly block: Names
  readonly blocks: string
  /** Whether several tensors with one path are its rows, one after the other; otherwise the last of them is written. */
  readonly inParts?: boolean
}

/** A tensor that holds rows [from, to) of a weight. */
export interface GgufPart {
  readonly name: string
  readonly from: number
  readonly to: number
}

/** Names in families with Llama's layers. */
export const llamaNames: GgufNames = {
  outer: { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' },
  block: {
    attn_norm: 'input_layernorm',
    attn_q: 'self_attn.q_proj',
    attn_k: 'self_attn.k_proj',
    attn_v: 'self_attn.v_proj',
    attn_output: 'self_attn.o_proj',
    ffn_norm: 'post_attention_layernorm',
    ffn_gate: 'mlp.gate_proj',
    ffn_up: 'mlp.up_proj',
    ffn_down: 'mlp.down_proj',
  },
  blocks: 'model.layers',
}

/** Llama's names, some of them replaced. */
export const llamaNamesWith = (block: Names): GgufNames => ({ ...llamaNames, block: { ...llamaNames.block, ...block } })

/** Norms of queries and keys. */
export const queryKeyNorms = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' }

/**
 * The divisors [headSize / 2] of the rotary frequencies. Hugging Face has no such tensor: it is kept under GGUF's name,
 * and `ropeScalingFromFactors` turns its values into the configuration's `rope_scaling`.
 */
export const ropeFactorsName = 'rope_freqs.weight'

/**
 * Hugging Face's name of a tensor in a GGUF file: Llama's `blk.3.attn_q.weight` is
 * `model.layers.3.self_attn.q_proj.weight`. `rope_freqs.weight` keeps its name.
 * @throws UsageError `unknown-tensor` for a tensor that the architecture does not have: ignoring it would change the model
 */
export function huggingFaceName(ggufName: string, { outer, block, blocks }: GgufNames, file = 'the GGUF file'): string {
  if (ggufName === ropeFactorsName) return ggufName
  const [, layer, stem = '', kind] = /^(?:blk\.(\d+)\.)?(\w+(?:\.\w+)?)\.(weight|bias)$/.exec(ggufName) ?? []
  const names = layer === undefined ? outer : block
  const renamed = Object.hasOwn(names, stem) ? names[stem] : undefined
  if (renamed === undefined) {
    throw new UsageError(
      'unknown-tensor',
      `The tensor ${quoted(ggufName)} in ${file} is not one of its architecture's tensors.`,
    )
  }
  return layer === undefined ? `${renamed}.${kind}` : `${blocks}.${layer}.${renamed}.${kind}`
}

/** GGUF has no axis for the one input of a depthwise convolution's channel: its weight [C, 1, K] is stored as [C, K]. */
export const ggufShape = (shape: readonly number[]): readonly number[] => {
  const [channels, inputs, length] = shape
  return shape.length === 3 && inputs === 1 ? [channels!, length!] : shape
}

/**
 * Returns GGUF's tensors of a weight or bias of `rows` rows, the reverse of `huggingFaceName`: one, or parts of equal size. Every
 * weight of a family that GGUF knows has them.
 */
export function ggufTensors(name: string, rows: number, { outer, block, blocks, inParts }: GgufNames): GgufPart[] {
  const [, path = '', kind] = /^(.+)\.(weight|bias)$/.exec(name) ?? []
  const [, layer, inBlock] = path.startsWith(`${blocks}.`)
    ? (/^(\d+)\.(.+)$/.exec(path.slice(blocks.length + 1)) ?? [])
    : []
  const names = layer === undefined ? outer : block
  // A family's own names come after others, such as those of Llama that OLMo 2 does not use.
  const stems = Object.keys(names).filter((key) => names[key] === (inBlock ?? path))
  if (stems.length === 0) throw new UsageError('unknown-tensor', `GGUF has no name for the weight ${name}.`)
  const place = layer === undefined ? '' : `blk.${layer}.`
  const used = inParts ? stems : stems.slice(-1)
  const each = rows / used.length
  return used.map((stem, part) => ({ name: `${place}${stem}.${kind}`, from: part * each, to: (part + 1) * each }))
}

/**
 * The order that turns GGUF's query and key rows into Hugging Face's: row r of the Hugging Face weight (or bias) is row
 * `order[r]` of GGUF's.
 *
 * In some architectures llama.cpp rotates adjacent pairs (2j, 2j + 1) of a head, Hugging Face the pairs
 * (j, j + headSize / 2): the same rotation after the rows of each head are interleaved. Rows are whole blocks of a
 * quantised format, so raw rows may be permuted.
 *
 * @param heads query heads for `attn_q`, key-value heads for `attn_k`
 * @returns [heads · headSize]
 */
export function unpermuteRows(heads: number, headSize: number): Int32Array {
  const half = headSize / 2
  return Int32Array.from({ length: heads * headSize }, (_, row) => {
    const inHead = row % headSize
    return row - inHead + 2 * (inHead % half) + Math.floor(inHead / half)
  })
}

/** Returns the row order of a query or key tensor by its GGUF name where files store pairs together; null for other tensors. */
export function pairedRows(
  ggufName: string,
  { heads, keyValueHeads, headSize }: Pick<ModelSizes, 'heads' | 'keyValueHeads' | 'headSize'>,
): Int32Array | null {
  const projection = /^blk\.\d+\.attn_([qk])\.(?:weight|bias)$/.exec(ggufName)?.[1]
  if (projection === undefined) return null
  return unpermuteRows(projection === 'q' ? heads : keyValueHeads, headSize)
}
