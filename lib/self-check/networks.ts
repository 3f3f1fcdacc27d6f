/** Small networks with random weights: loss, gradients of an adapter, and the loss after one step of AdamW. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AdapterConfigBase } from '../adapters/contract/adapter.js'
import { lora, mora } from '../adapters/own-methods.js'
import { packBatch } from '../batches/packing.js'
import { randomStream } from '../common/random.js'
import { initModel } from '../models/index.js'
import type { FloatDType, NativeDevice } from '../native/addon.js'
import { AdamW } from '../optim/adamw.js'
import type { Check } from './check.js'
import { sampled, type Values } from './reference.js'

const VOCABULARY = 233

const sizes = {
  vocab_size: VOCABULARY,
  hidden_size: 48,
  intermediate_size: 100,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  tie_word_embeddings: true,
  initializer_range: 0.2,
}

/** A `config.json`, and the adapter that is trained. */
const networks: Readonly<Record<string, { config: object; adapter: AdapterConfigBase }>> = {
  llama: {
    config: { ...sizes, model_type: 'llama', num_hidden_layers: 2, hidden_act: 'silu', rms_norm_eps: 1e-5 },
    adapter: mora({ rank: 2, operator: 'rotation' }),
  },
  gemma2: {
    config: {
      ...sizes,
      model_type: 'gemma2',
      num_hidden_layers: 2,
      head_dim: 16,
      hidden_activation: 'gelu_pytorch_tanh',
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      query_pre_attn_scalar: 16,
      rms_norm_eps: 1e-6,
      sliding_window: 16,
      layer_types: ['sliding_attention', 'full_attention'],
    },
    adapter: lora({ rank: 3 }),
  },
  gpt2: {
    config: {
      model_type: 'gpt2',
      vocab_size: VOCABULARY,
      n_embd: 48,
      n_head: 4,
      n_layer: 2,
      n_positions: 256,
      activation_function: 'gelu_new',
      layer_norm_epsilon: 1e-5,
      initializer_range: 0.2,
      tie_word_embeddings: true,
    },
    adapter: mora({ rank: 4, operator: 'sharing' }),
  },
  qwen3_5_text: {
    config: {
      ...sizes,
      model_type: 'qwen3_5_text',
      num_hidden_layers: 2,
      head_dim: 16,
      hidden_act: 'silu',
      layer_types: ['linear_attention', 'full_attention'],
      linear_conv_kernel_dim: 4,
      linear_key_head_dim: 8,
      linear_num_key_heads: 2,
      linear_num_value_heads: 4,
      linear_value_head_dim: 12,
      rms_norm_eps: 1e-6,
      rope_parameters: {
        mrope_interleaved: true,
        mrope_section: [1, 1, 0],
        partial_rotary_factor: 0.25,
        rope_theta: 1e7,
        rope_type: 'default',
      },
    },
    adapter: mora({ rank: 2, operator: 'decoupling' }),
  },
  lfm2: {
    config: {
      ...sizes,
      model_type: 'lfm2',
      num_hidden_layers: 2,
      conv_L_cache: 3,
      conv_bias: false,
      layer_types: ['conv', 'full_attention'],
      block_auto_adjust_ff_dim: false,
      norm_eps: 1e-5,
    },
    adapter: lora({ rank: 3 }),
  },
}

/** Gradients add up errors of many operations; in bfloat16, every activation is rounded. */
const TOLERANCE = { float32: 5e-4, bfloat16: 5e-2 } as const

async function train(name: string, dtype: FloatDType, device: NativeDevice): Promise<Values> {
  const { config, adapter } = networks[name]!
  const folder = await mkdtemp(join(tmpdir(), 'mora-check-'))
  const path = join(folder, 'config.json')
  try {
    await writeFile(path, JSON.stringify(config))
    using model = await initModel(path, { device: device.kind, dtype, seed: 1 })
    await model.addAdapter('check', adapter, { seed: 1 })
    const random = randomStream(1, 'self-check', name)
    const rows = [29, 3, 40].map((length, row) => {
      const ids = Array.from({ length }, () => random.integer(VOCABULARY))
      return { ids, mask: ids.map((_, i) => (i < 2 ? 0 : 1)), row }
    })
    const batch = packBatch(rows)
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    // Values that start at zero would hide the gradients of other values.
    for (const parameter of parameters) {
      const values = (await parameter.data()) as Float32Array
      parameter.assign(values.map((value) => value + 0.05 * random.normal()))
    }
    const optimizer = new AdamW(parameters)
    using before = model.loss(batch).loss
    await before.backward()
    const gradients: number[] = []
    for (const { grad } of parameters) gradients.push(...((await grad!.data()) as Float32Array))
    using norm = optimizer.step({ learningRate: 1e-2 })
    optimizer.dispose()
    using after = model.loss(batch).loss
    const scalars = [await before.item(), await norm.item(), await after.item()]
    return [...scalars.map((value) => Float32Array.of(value)), sampled(Float32Array.from(gradients))]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export const networkChecks: readonly Check[] = (['float32', 'bfloat16'] as const).flatMap((dtype) =>
  Object.keys(networks).map((name) => ({
    name: `a training step of ${name}, ${dtype}`,
    tolerance: TOLERANCE[dtype],
    compute: (device) => train(name, dtype, device),
  })),
)
