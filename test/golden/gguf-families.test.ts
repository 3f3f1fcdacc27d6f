/** GGUF files that are made from the families' checkpoints as by llama.cpp's converter give the checkpoints' results. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { array, bool, float32, type GgufParts, ggufBytes, type TypedValue, text, uint32 } from '../io/gguf-bytes.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { describeFamilies, familyExpected, familyFolder, familyNames, familyPath, loadFamily } from './families.js'
import { type GoldenTensor, goldenJson, largestDifference, readTensors } from './files.js'
import { logProbsOf } from './tiny-models.js'

type Json = Record<string, number | null>

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface Layout {
  readonly architecture: string
  /** Metadata beside Llama's. */
  readonly metadata?: (config: Json) => Record<string, TypedValue>
  readonly names?: Record<string, string>
  readonly permuted?: boolean
  readonly normOffset?: number
  /** Returns a tensor as the converter changes it, by its module in a block; null for others. */
  readonly convert?: (module: string, tensor: GoldenTensor, config: Json) => GoldenTensor | null
  /** Names of the tensors that a weight is cut into. */
  readonly parts?: Record<string, readonly string[]>
  /** A tensor that is no weight. */
  readonly extra?: { readonly name: string; readonly values: readonly number[] }
}

const llamaNames = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
}
const aroundNames = {
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
}
const gemmaLike = (config: Json) => ({ 'attention.sliding_window': uint32(config.sliding_window!) })
const graniteLike = (config: Json) => ({
  'attention.scale': float32(config.attention_multiplier!),
  embedding_scale: float32(config.embedding_multiplier!),
  residual_scale: float32(config.residual_multiplier!),
  logit_scale: float32(config.logits_scaling!),
})

const layouts: Record<string, Layout> = {
  'llama-yarn': {
    architecture: 'llama',
    permuted: true,
    metadata: () => ({
      'rope.scaling.type': text('yarn'),
      'rope.scaling.factor': float32(4),
      'rope.scaling.original_context_length': uint32(64),
    }),
  },
  smollm3: { architecture: 'smollm3', permuted: true },
  qwen2: { architecture: 'qwen2' },
  qwen3: { architecture: 'qwen3' },
  gemma: { architecture: 'gemma', normOffset: 1 },
  gemma2: {
    architecture: 'gemma2',
    normOffset: 1,
    names: aroundNames,
    metadata: (config) => ({
      ...gemmaLike(config),
      attn_logit_softcapping: float32(config.attn_logit_softcapping!),
      final_logit_softcapping: float32(config.final_logit_softcapping!),
    }),
  },
  gemma3: {
    architecture: 'gemma3',
    normOffset: 1,
    names: aroundNames,
    metadata: (config) => ({ ...gemmaLike(config), 'rope.freq_base': float32(1e6) }),
  },
  phi3: {
    architecture: 'phi3',
    names: { 'self_attn.qkv_proj': 'attn_qkv', 'mlp.gate_up_proj': 'ffn_up' },
    metadata: () => ({
      'rope.scaling.original_context_length': uint32(4096),
      'rope.dimension_count': uint32(12),
      'attention.sliding_window': uint32(0),
    }),
  },
  olmo2: { architecture: 'olmo2', names: aroundNames },
  olmo3: {
    architecture: 'olmo2',
    names: aroundNames,
    metadata: (config) => ({
      ...gemmaLike(config),
      'rope.freq_base': float32(5e5),
      'rope.scaling.type': text('yarn'),
      'rope.scaling.factor': float32(8),
      'rope.scaling.attn_factor': float32(1.2079441541679836),
      'rope.scaling.original_context_length': uint32(4096),
    }),
  },
  granite: {
    architecture: 'granite',
    permuted: true,
    metadata: (config) => graniteLike(config),
  },
  'granitemoehybrid-dense': {
    architecture: 'granite',
    permuted: true,
    names: { 'shared_mlp.output_linear': 'ffn_down' },
    parts: { 'shared_mlp.input_linear': ['ffn_gate', 'ffn_up'] },
    metadata: (config) => ({
      ...graniteLike(config),
      'attention.head_count_kv': array(4, [2, 2, 2].map(uint32)),
      expert_count: uint32(0),
      expert_used_count: uint32(0),
      expert_shared_feed_forward_length: uint32(config.shared_intermediate_size!),
      'rope.scaling.finetuned': bool(1),
      'ssm.conv_kernel': uint32(4),
      'ssm.state_size': uint32(256),
      'ssm.group_count': uint32(1),
      'ssm.inner_size': uint32(64),
      'ssm.time_step_rank': uint32(8),
    }),
  },
  ministral3: {
    architecture: 'mistral3',
    permuted: true,
    metadata: () => ({
      'rope.freq_base': float32(1e6),
      'rope.scaling.type': text('yarn'),
      'rope.scaling.factor': float32(16),
      'rope.scaling.original_context_length': uint32(24),
      'rope.scaling.yarn_beta_fast': float32(32),
      'rope.scaling.yarn_beta_slow': float32(1),
      'rope.scaling.yarn_log_multiplier': float32(1),
      'attention.temperature_scale': float32(0.1),
    }),
  },
  lfm2: {
    architecture: 'lfm2',
    names: {
      'model.embedding_norm': 'token_embd_norm',
      operator_norm: 'attn_norm',
      'self_attn.out_proj': 'attn_output',
      'self_attn.q_layernorm': 'attn_q_norm',
      'self_attn.k_layernorm': 'attn_k_norm',
      ffn_norm: 'ffn_norm',
      'feed_forward.w1': 'ffn_gate',
      'feed_forward.w2': 'ffn_down',
      'feed_forward.w3': 'ffn_up',
      'conv.in_proj': 'shortconv.in_proj',
      'conv.conv': 'shortconv.conv',
      'conv.out_proj': 'shortconv.out_proj',
    },
    metadata: (config) => ({
      feed_forward_length: uint32(80),
      'attention.head_count_kv': array(5, [0, 0, 2, 0, 2].map(uint32)),
      'attention.layer_norm_rms_epsilon': float32(config.norm_eps!),
      'rope.freq_base': float32(1e6),
      'shortconv.l_cache': uint32(config.conv_L_cache!),
    }),
  },
  'qwen3_5-text': {
    architecture: 'qwen35',
    names: {
      post_attention_layernorm: 'post_attention_norm',
      'linear_attn.in_proj_qkv': 'attn_qkv',
      'linear_attn.in_proj_z': 'attn_gate',
      'linear_attn.in_proj_b': 'ssm_beta',
      'linear_attn.in_proj_a': 'ssm_alpha',
      'linear_attn.conv1d': 'ssm_conv1d',
      'linear_attn.norm': 'ssm_norm',
      'linear_attn.out_proj': 'ssm_out',
      'linear_attn.A_log': 'ssm_a',
      'linear_attn.dt_bias': 'ssm_dt.bias',
    },
    convert: qwenTensor,
    // A file with a layer that predicts more tokens.
    extra: { name: 'blk.4.nextn.eh_proj.weight', values: Array(8).fill(0) },
    metadata: (config) => ({
      block_count: uint32(5),
      nextn_predict_layers: uint32(1),
      full_attention_interval: uint32(4),
      'attention.value_length': uint32(config.head_dim!),
      'rope.dimension_count': uint32(config.head_dim! / 4),
      'rope.dimension_sections': array(5, [1, 1, 0, 0].map(uint32)),
      'ssm.conv_kernel': uint32(4),
      'ssm.state_size': uint32(config.linear_key_head_dim!),
      'ssm.group_count': uint32(config.linear_num_key_heads!),
      'ssm.time_step_rank': uint32(config.linear_num_value_heads!),
      'ssm.inner_size': uint32(config.linear_num_value_heads! * config.linear_value_head_dim!),
    }),
  },
  'gemma4-e2b-text': {
    architecture: 'gemma4',
    names: {
      ...aroundNames,
      'model.embed_tokens_per_layer': 'per_layer_token_embd',
      'model.per_layer_model_projection': 'per_layer_model_proj',
      'model.per_layer_projection_norm': 'per_layer_proj_norm',
      per_layer_input_gate: 'inp_gate',
      per_layer_projection: 'proj',
      post_per_layer_input_norm: 'post_norm',
      layer_scalar: 'layer_output_scale.weight',
    },
    extra: { name: 'rope_freqs.weight', values: [1, 1, 1e30, 1e30, 1e30, 1e30, 1e30, 1e30] },
    metadata: (config) => ({
      ...gemmaLike(config),
      final_logit_softcapping: float32(config.final_logit_softcapping!),
      'attention.sliding_window_pattern': array(7, [1, 1, 0, 1, 1, 0, 1, 0].map(bool)),
      'attention.shared_kv_layers': uint32(4),
      'attention.key_length': uint32(16),
      'attention.value_length': uint32(16),
      'attention.key_length_swa': uint32(8),
      'attention.value_length_swa': uint32(8),
      feed_forward_length: array(5, [40, 40, 40, 40, 80, 80, 80, 80].map(uint32)),
      embedding_length_per_layer_input: uint32(6),
      'rope.freq_base': float32(1e6),
      'rope.freq_base_swa': float32(1e4),
      'rope.dimension_count': uint32(16),
      'rope.dimension_count_swa': uint32(8),
    }),
  },
  gpt2: {
    architecture: 'gpt2',
    names: {
      'transformer.wte': 'token_embd',
      'transformer.wpe': 'position_embd',
      'transformer.ln_f': 'output_norm',
      ln_1: 'attn_norm',
      'attn.c_attn': 'attn_qkv',
      'attn.c_proj': 'attn_output',
      ln_2: 'ffn_norm',
      'mlp.c_fc': 'ffn_up',
      'mlp.c_proj': 'ffn_down',
    },
  },
}

const named = familyNames.filter((name) => name in layouts)
describeFamilies(named, (name) => {
  const { sequences, logprobs } = familyExpected(name)

  test('log-probabilities', async () => {
    const path = join(at(), 'model.gguf')
    writeFileSync(path, convert(name, layouts[name]!))
    using model = await loadFamily(path)
    const got = await logProbsOf(model, sequences)
    for (const [i, values] of got.entries()) expect(largestDifference(values, logprobs[i]!)).toBeLessThan(1e-4)
    // What is merged from it is a checkpoint of the family.
    await model.save(join(at(), 'saved'))
    using saved = await loadFamily(join(at(), 'saved'))
    const again = await logProbsOf(saved, sequences)
    for (const [i, values] of again.entries()) expect(largestDifference(values, got[i]!)).toBeLessThan(1e-5)
  })
})

function convert(name: string, layout: Layout): Uint8Array {
  const outer = goldenJson<{ text_config?: Json }>(`${familyPath(name)}/config.json`)
  const config = outer.text_config ?? (outer as Json)
  const tensors = readTensors(join(familyFolder(name), 'model.safetensors'))
  const parts: NonNullable<GgufParts['tensors']> = []
  const data: Buffer[] = []
  let offset = 0
  for (const [inFile, tensor] of tensors) {
    // Converters write a wrapped text model alone.
    if (outer.text_config && !inFile.startsWith('language_model.')) continue
    const stored = inFile.replace('language_model.', '')
    const { shape, values } = converted(stored, tensor, layout, config)
    const names = ggufNames(stored, layout)
    const sizes = [...shape.slice(1).toReversed(), shape[0]! / names.length]
    const length = values.length / names.length
    for (const [part, name] of names.entries()) {
      parts.push({ name, sizes, type: 0, offset })
      const padding = (32 - ((4 * length) % 32)) % 32
      data.push(Buffer.from(values.slice(part * length, (part + 1) * length).buffer), Buffer.alloc(padding))
      offset += 4 * length + padding
    }
  }
  if (layout.extra) {
    parts.push({ name: layout.extra.name, sizes: [8], type: 0, offset })
    data.push(Buffer.from(Float32Array.from(layout.extra.values).buffer))
  }
  const metadata = { ...baseMetadata(config), ...layout.metadata?.(config) }
  const header = ggufBytes({
    metadata: [
      ['general.architecture', text(layout.architecture)],
      ...Object.entries(metadata).map(([key, value]): [string, TypedValue] => [`${layout.architecture}.${key}`, value]),
    ],
    tensors: parts,
  })
  return Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), ...data])
}

function baseMetadata(config: Json): Record<string, TypedValue> {
  if (config.n_embd) {
    return {
      block_count: uint32(config.n_layer!),
      context_length: uint32(config.n_positions!),
      embedding_length: uint32(config.n_embd),
      feed_forward_length: uint32(4 * config.n_embd),
      'attention.head_count': uint32(config.n_head!),
      'attention.layer_norm_epsilon': float32(config.layer_norm_epsilon!),
    }
  }
  const { rope_theta: theta } = config.rope_parameters as unknown as { rope_theta?: number }
  return {
    block_count: uint32(config.num_hidden_layers!),
    context_length: uint32(config.max_position_embeddings!),
    embedding_length: uint32(config.hidden_size!),
    feed_forward_length: uint32(config.intermediate_size!),
    'attention.head_count': uint32(config.num_attention_heads!),
    'attention.head_count_kv': uint32(config.num_key_value_heads!),
    'attention.layer_norm_rms_epsilon': float32(config.rms_norm_eps!),
    ...(config.head_dim ? { 'attention.key_length': uint32(config.head_dim) } : {}),
    ...(theta ? { 'rope.freq_base': float32(theta) } : {}),
  }
}

function ggufNames(stored: string, { names, parts }: Layout): string[] {
  const [, inLayer, whole] = /^model\.layers\.(\d+)\.(.+)$/.exec(stored) ?? []
  if (names?.[whole!]) return [`blk.${inLayer}.${names[whole!]}`]
  const [, layer, module, kind] = /^(?:(?:model\.layers|transformer\.h)\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(stored)!
  const renamed = parts?.[module!] ?? [{ ...llamaNames, ...names }[module!]!]
  return renamed.map((name) => (layer === undefined ? `${name}.${kind}` : `blk.${layer}.${name}.${kind}`))
}

/** Value heads come tiled: the first of each key head, then the second of each. */
function qwenTensor(module: string, { values, ...tensor }: GoldenTensor, config: Json): GoldenTensor | null {
  if (module.endsWith('norm.weight') && module !== 'linear_attn.norm.weight')
    return { ...tensor, values: values.map((value) => value + 1) }
  const name = /^linear_attn\.(\w+)/.exec(module)?.[1] ?? ''
  const [keyHeads, valueHeads] = [config.linear_num_key_heads!, config.linear_num_value_heads!]
  const [keys, perHead] = [2 * keyHeads * config.linear_key_head_dim!, valueHeads / keyHeads]
  const moved = values.map((value) => (name === 'A_log' ? -Math.exp(value) : value))
  const heads = (start: number, length: number) => {
    const from = moved.slice(start, start + valueHeads * length)
    for (let key = 0; key < keyHeads; key++) {
      for (let value = 0; value < perHead; value++) {
        const head = key * perHead + value
        moved.set(from.subarray(head * length, (head + 1) * length), start + (value * keyHeads + key) * length)
      }
    }
  }
  const width = values.length / tensor.shape[0]!
  const size = config.linear_value_head_dim!
  if (name === 'in_proj_qkv' || name === 'conv1d') heads(keys * width, size * width)
  if (name === 'in_proj_z') heads(0, size * width)
  if (/^(in_proj_[ab]|A_log|dt_bias)$/.test(name)) heads(0, width)
  if (name === 'out_proj') for (let row = 0; row < tensor.shape[0]!; row++) heads(row * width, size)
  return { ...tensor, values: moved }
}

function converted(
  stored: string,
  tensor: GoldenTensor,
  { permuted, normOffset, convert: change }: Layout,
  config: Json,
): { shape: readonly number[]; values: Float32Array } {
  const { shape, values } = change?.(stored.replace(/^model\.(layers\.\d+\.)?/, ''), tensor, config) ?? tensor
  if (normOffset && stored.endsWith('norm.weight')) return { shape, values: values.map((value) => value + normOffset) }
  if (shape.length === 3) return { shape: [shape[0]!, shape[2]!], values }
  if (/c_(attn|proj|fc)\.weight$/.test(stored)) {
    const [rows, columns] = shape as [number, number]
    const turned = values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
    return { shape: [columns, rows], values: turned }
  }
  const projection = /\.([qk])_proj\./.exec(stored)?.[1]
  if (!permuted || projection === undefined) return { shape, values }
  const heads = (projection === 'q' ? config.num_attention_heads : config.num_key_value_heads)!
  const headSize = shape[0]! / heads
  const width = values.length / shape[0]!
  const moved = new Float32Array(values.length)
  for (let row = 0; row < shape[0]!; row++) {
    // Rows j and j + headSize / 2 of a head become neighbours.
    const [head, inHead] = [Math.floor(row / headSize), row % headSize]
    const to = head * headSize + 2 * (inHead % (headSize / 2)) + Math.floor(inHead / (headSize / 2))
    moved.set(values.subarray(row * width, (row + 1) * width), to * width)
  }
  return { shape, values: moved }
}
