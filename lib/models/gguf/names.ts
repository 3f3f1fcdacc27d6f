/** Translates GGUF's tensor names, and the order of rows, to Hugging Face's checkpoints. */
import { quoted, UsageError } from '../../common/errors.js'

type Names = Readonly<Record<string, string>>

/** Hugging Face's module paths by GGUF's names. */
export interface GgufNames {
  readonly outer: Names
  /** Within `blk.N`, under `blocks.N`. */
  readonly block: Names
  readonly blocks: string
  /** Whole names of tensors that are no weight or bias of a module, within `blk.N` and `blocks.N`. */
  readonly whole?: Names
  /** Whether several tensors with one path are its rows, one after the other; otherwise the last of them is written. */
  readonly inParts?: boolean
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
export function huggingFaceName(
  ggufName: string,
  { outer, block, blocks, whole = {} }: GgufNames,
  file = 'the GGUF file',
): string {
  if (ggufName === ropeFactorsName) return ggufName
  const [, layer, inside = ''] = /^(?:blk\.(\d+)\.)?(.+)$/.exec(ggufName) ?? []
  const [, stem = '', kind = ''] = /^(\w+(?:\.\w+)?)(\.(?:weight|bias))$/.exec(inside) ?? []
  const names = layer === undefined ? outer : block
  const path = Object.hasOwn(names, stem) ? `${names[stem]}${kind}` : undefined
  const renamed = layer !== undefined && Object.hasOwn(whole, inside) ? whole[inside] : path
  if (renamed === undefined) {
    throw new UsageError(
      'unknown-tensor',
      `The tensor ${quoted(ggufName)} in ${file} is not one of its architecture's tensors.`,
    )
  }
  return layer === undefined ? renamed : `${blocks}.${layer}.${renamed}`
}

/** GGUF has no axis for the one input of a depthwise convolution's channel: its weight [C, 1, K] is stored as [C, K]. */
export const ggufShape = (shape: readonly number[]): readonly number[] => {
  const [channels, inputs, length] = shape
  return shape.length === 3 && inputs === 1 ? [channels!, length!] : shape
}

/**
 * Returns GGUF's tensors of a weight of `rows` rows, each with rows [from, to), the reverse of `huggingFaceName`: one, or parts of
 * equal size. Every weight of a family that GGUF knows has them.
 */
export function ggufTensors(
  name: string,
  rows: number,
  names: GgufNames,
): { readonly name: string; readonly from: number; readonly to: number }[] {
  const { outer, block, blocks, inParts, whole = {} } = names
  const inBlock = name.startsWith(`${blocks}.`) ? /^(\d+)\.(.+)$/.exec(name.slice(blocks.length + 1)) : null
  const [, layer, inside = name] = inBlock ?? []
  const [, path = '', kind = ''] = /^(.+)(\.(?:weight|bias))$/.exec(inside) ?? []
  const keysOf = (table: Names, value: string) => Object.keys(table).filter((key) => table[key] === value)
  const stems = keysOf(layer === undefined ? outer : block, path).map((stem) => `${stem}${kind}`)
  const all = [...stems, ...(layer === undefined ? [] : keysOf(whole, inside))]
  if (all.length === 0) throw new UsageError('unknown-tensor', `GGUF has no name for the weight ${name}.`)
  // A family's own names come after others, such as Llama's names that OLMo 2 does not use.
  const used = inParts ? all : all.slice(-1)
  const [place, each] = [layer === undefined ? '' : `blk.${layer}.`, rows / used.length]
  return used.map((tensor, part) => ({ name: `${place}${tensor}`, from: part * each, to: (part + 1) * each }))
}
