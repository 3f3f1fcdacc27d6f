/**
 * The settings of PEFT's method comparison on MetaMathQA, under the names in its reports. PEFT at 5d602fd,
 * method_comparison/MetaMathQA/default_training_params.json.
 */
export interface TrainConfig {
  model_id: string
  dtype: 'float32' | 'float16' | 'bfloat16'
  /** Maximum tokens of a training row; the rest is cut off. */
  max_seq_length: number
  batch_size: number
  batch_size_eval: number
  max_steps: number
  /** Optimizer steps from one validation to the next. */
  eval_steps: number
  query_template: string
  seed: number
  grad_norm_clip: number
  optimizer_type: 'AdamW'
  optimizer_kwargs: { lr: number; weight_decay: number }
  lr_scheduler: 'cosine'
  /** Adapters are float32 beside a bfloat16 model. */
  autocast_adapter_dtype: true
  generation_kwargs: { max_length: number; max_new_tokens: number }
}

export const PROTOCOL: TrainConfig = {
  model_id: 'meta-llama/Llama-3.2-3B',
  dtype: 'bfloat16',
  max_seq_length: 768,
  batch_size: 4,
  batch_size_eval: 50,
  max_steps: 5000,
  eval_steps: 250,
  query_template: 'Question: {query} Think step by step.\nAnswer:',
  seed: 0,
  grad_norm_clip: 1,
  optimizer_type: 'AdamW',
  optimizer_kwargs: { lr: 1e-4, weight_decay: 0.1 },
  lr_scheduler: 'cosine',
  autocast_adapter_dtype: true,
  generation_kwargs: { max_length: 800, max_new_tokens: 300 },
}

/** Batches in a bucket; rows of a bucket are sorted by length. */
export const BUCKET_FACTOR = 20
/** Maximum characters of a query and its response, joined by a space. */
export const CHARACTER_LIMIT = 1300
export const WARMUP_RATIO = 0.1
export const VALIDATION_ROWS = 50
/** Number of texts that forgetting is measured on. */
export const FORGETTING_ROWS = 100
/** The layers that PEFT adapts by default in a Llama. */
export const TARGETS = ['q_proj', 'v_proj']
