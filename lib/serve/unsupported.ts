/**
 * Parameters of other servers that would change a response and that this one does not have: refused by name, unless their value
 * changes nothing. Parameters that only help the server (`cache_prompt`, `user`, `priority`, …) are not listed and are ignored.
 */
import { isDeepStrictEqual } from 'node:util'
import { wrongField } from './fields.js'

interface Unsupported {
  /** Values that change nothing: defaults that clients send along. Null is always one. */
  readonly neutral?: readonly unknown[]
  /** Ends the sentence: how to get the same here. */
  readonly instead?: string
}

type UnsupportedParameters = Readonly<Record<string, Unsupported>>

const constraint: Unsupported = { instead: 'use structured_outputs' }
const limit = (maxTokens: string): Unsupported => ({ neutral: [-1], instead: `use ${maxTokens}` })
const penalty = 'use repetition_penalty, presence_penalty or frequency_penalty'
const cut: Unsupported = { neutral: [false], instead: 'shorten the text yourself' }
const adapter: Unsupported = { neutral: [[], ''], instead: 'name the adapter as model' }
const ids: Unsupported = { neutral: [false], instead: 'ask /tokenize for ids' }
const off: Unsupported = { neutral: [false] }
const zero: Unsupported = { neutral: [0] }
const ofTemplate = 'give them as chat_template_kwargs, under the name that the template has for them'

/** OpenAI's, vLLM's, SGLang's, TGI's, llama.cpp's, LM Studio's, Ollama's, OpenRouter's and Anthropic's, for texts. */
const ofTexts = (maxTokens: string, format: string, stop = 'stop'): UnsupportedParameters => ({
  // Sampling.
  stop_sequences: { neutral: [[]], instead: `use ${stop}` },
  stop_regex: { neutral: [[]], instead: `use ${stop}` },
  no_stop_trim: { neutral: [false], instead: 'use include_stop_str_in_output' },
  min_new_tokens: { neutral: [0], instead: 'use min_tokens' },
  do_sample: { neutral: [true], instead: 'set temperature to 0' },
  use_beam_search: off,
  num_beams: { neutral: [1] },
  early_stopping: off,
  length_penalty: { neutral: [1] },
  penalty_alpha: zero,
  repeat_penalty: { neutral: [1], instead: penalty },
  repeat_last_n: { neutral: [-1, 64], instead: `${penalty}, which count the whole text` },
  penalize_nl: { neutral: [false], instead: penalty },
  mirostat: zero,
  mirostat_mode: zero,
  dry_multiplier: { neutral: [0], instead: penalty },
  xtc_probability: zero,
  dynatemp_range: zero,
  dynamic_temperature: off,
  smoothing_factor: zero,
  tfs_z: { neutral: [1], instead: 'use typical_p or min_p' },
  top_a: { neutral: [0], instead: 'use min_p' },
  epsilon_cutoff: { neutral: [0], instead: 'use min_p' },
  eta_cutoff: { neutral: [0], instead: 'use min_p' },
  adaptive_target: { neutral: [-1] },
  samplers: {},
  sampler_seq: {},
  logits_processors: { neutral: [[]] },
  custom_logit_processor: {},
  thinking_token_budget: { neutral: [-1] },
  watermark: off,
  // Constraints.
  guided_json: { instead: `use ${format}` },
  guided_regex: constraint,
  guided_choice: constraint,
  guided_grammar: constraint,
  guided_decoding: constraint,
  structural_tag: constraint,
  regex: constraint,
  ebnf: constraint,
  choices: constraint,
  format: { neutral: [''], instead: `use ${format}` },
  // Length and prompt.
  n_predict: limit(maxTokens),
  num_predict: limit(maxTokens),
  max_new_tokens: limit(maxTokens),
  maxTokens: limit(maxTokens),
  max_tokens_to_sample: limit(maxTokens),
  t_max_predict_ms: { neutral: [0, -1], instead: `use ${maxTokens}` },
  num_ctx: { instead: `use ${maxTokens}` },
  truncate_prompt_tokens: cut,
  truncation: { neutral: ['disabled', false], instead: 'shorten the text yourself' },
  truncate: cut,
  prompt_truncate_len: cut,
  transforms: { neutral: [[]], instead: 'shorten the text yourself' },
  prompt_embeds: { instead: 'give texts or token ids' },
  input_ids: { instead: 'give token ids as prompt of /v1/completions' },
  image_data: { neutral: [[]], instead: 'the model reads text alone' },
  multi_modal_data: { instead: 'the model reads text alone' },
  // Models and adapters.
  lora: adapter,
  lora_path: adapter,
  lora_request: adapter,
  adapter_id: adapter,
  models: { neutral: [[]], instead: 'name one model' },
  options: { neutral: [{}], instead: 'give each option as a parameter of its own, by the names of this API' },
  parameters: { neutral: [{}], instead: 'give each option as a parameter of its own, by the names of this API' },
  sampling_params: { neutral: [{}], instead: 'give each option as a parameter of its own, by the names of this API' },
  // Contents of the response.
  prompt_logprobs: { neutral: [false], instead: 'use echo and logprobs of /v1/completions' },
  n_probs: { neutral: [0], instead: 'use logprobs' },
  post_sampling_probs: off,
  skip_special_tokens: { neutral: [true] },
  detokenize: { neutral: [true], instead: 'ask /tokenize for ids' },
  return_tokens: ids,
  return_tokens_as_token_ids: ids,
  return_token_ids: ids,
  return_hidden_states: { neutral: [false], instead: 'ask /v1/embeddings' },
  response_fields: { neutral: [[]] },
})

export const unsupportedOfCompletions: UnsupportedParameters = {
  ...ofTexts('max_tokens', 'structured_outputs'),
  suffix: { neutral: [''] },
  tools: { neutral: [[]], instead: 'ask /v1/chat/completions' },
  response_format: { neutral: [{ type: 'text' }], instead: 'use structured_outputs' },
  max_completion_tokens: limit('max_tokens'),
  top_logprobs: { neutral: [0], instead: 'give the number as logprobs' },
  chat_template_kwargs: { neutral: [{}], instead: 'ask /v1/chat/completions' },
  add_special_tokens: { neutral: [true], instead: 'give the ids of the text, from /tokenize' },
}

/** Of conversations, whichever route they come by. */
const ofConversations: UnsupportedParameters = {
  audio: {},
  modalities: { neutral: [['text']] },
  functions: { neutral: [[]], instead: 'use tools' },
  function_call: { neutral: ['auto', 'none'], instead: 'use tool_choice' },
  prediction: {},
  web_search_options: {},
  plugins: { neutral: [[]] },
  suffix: { neutral: [''] },
  echo: { neutral: [false], instead: 'ask /v1/completions' },
  add_special_tokens: { neutral: [false], instead: 'the template writes the tokens that begin a conversation' },
  chat_template: { instead: 'the template is chosen when the server starts' },
  documents: { neutral: [[]], instead: ofTemplate },
  think: { instead: ofTemplate },
  thinking_budget_tokens: { neutral: [-1] },
  reasoning_budget: { neutral: [-1] },
  reasoning_format: { neutral: ['auto', 'deepseek'] },
  include_reasoning: { neutral: [true] },
  separate_reasoning: { neutral: [true] },
  stream_reasoning: { neutral: [true] },
}

export const unsupportedOfChats: UnsupportedParameters = {
  ...ofTexts('max_tokens', 'structured_outputs or response_format'),
  ...ofConversations,
  store: off,
  system: { neutral: [''], instead: 'begin messages with a system message' },
  thinking: { instead: ofTemplate },
  reasoning: { instead: 'use reasoning_effort' },
}

const whole: Unsupported = { instead: 'send the whole conversation as input' }

const ofEnds = (instead: string): UnsupportedParameters => ({
  continue_final_message: { neutral: [false], instead },
  add_generation_prompt: { neutral: [true], instead },
})

export const unsupportedOfResponses: UnsupportedParameters = {
  ...ofTexts('max_output_tokens', 'structured_outputs or text.format'),
  ...ofConversations,
  ...ofEnds('ask /v1/chat/completions'),
  previous_response_id: whole,
  conversation: whole,
  messages: { instead: 'use input' },
  prompt: { instead: 'use instructions and input' },
  background: { neutral: [false], instead: 'stream the response' },
  context_management: { neutral: [[]], instead: 'shorten the conversation yourself' },
  moderation: {},
  n: { neutral: [1], instead: 'ask once for each' },
  max_tokens: limit('max_output_tokens'),
  max_completion_tokens: limit('max_output_tokens'),
  response_format: { neutral: [{ type: 'text' }], instead: 'use text.format' },
  logprobs: { neutral: [false], instead: 'use include and top_logprobs' },
  reasoning_effort: { instead: 'use reasoning.effort' },
  system: { neutral: [''], instead: 'use instructions' },
  thinking: { instead: ofTemplate },
}

const { stop_sequences: _, ...ofOtherTexts } = ofTexts(
  'max_tokens',
  'structured_outputs or output_config.format',
  'stop_sequences',
)

export const unsupportedOfMessages: UnsupportedParameters = {
  ...ofOtherTexts,
  ...ofConversations,
  ...ofEnds('end messages with the message of the assistant that is continued'),
  n: { neutral: [1], instead: 'ask once for each' },
  stop: { neutral: [[]], instead: 'use stop_sequences' },
  input: { instead: 'use messages' },
  instructions: { instead: 'use system' },
  max_completion_tokens: limit('max_tokens'),
  response_format: { neutral: [{ type: 'text' }], instead: 'use output_config.format' },
  output_format: { instead: 'use output_config.format' },
  reasoning: { instead: 'use output_config.effort' },
  reasoning_effort: { instead: 'use output_config.effort' },
  logprobs: { neutral: [false], instead: 'ask /v1/chat/completions' },
  container: {},
  mcp_servers: { neutral: [[]] },
  context_management: { neutral: [{ edits: [] }], instead: 'shorten the conversation yourself' },
}

export const unsupportedOfEmbeddings: UnsupportedParameters = {
  truncate_prompt_tokens: cut,
  truncate: cut,
  add_special_tokens: { neutral: [true], instead: 'give the ids of the text, from /tokenize' },
  normalize: { neutral: [true] },
  prompt_name: { instead: 'write the prompt before the text' },
  instruction: { instead: 'write the instruction before the text' },
  input_type: { instead: 'write what the model expects before the text' },
  lora_path: adapter,
  adapter_id: adapter,
}

export const unsupportedOfScores: UnsupportedParameters = {
  truncate_prompt_tokens: cut,
  max_tokens_per_doc: cut,
  truncate: cut,
  queries: { instead: 'use text_1 and text_2' },
  texts: { instead: 'use documents' },
  raw_scores: { neutral: [false], instead: 'use use_activation: false' },
  rank_fields: { instead: 'give documents as texts' },
  encoding_format: { neutral: ['float'] },
  lora_path: adapter,
  adapter_id: adapter,
}

export const unsupportedOfTokenize: UnsupportedParameters = {
  chat_template: { instead: 'the template is chosen when the server starts' },
}

const unsupportedOfStreams: UnsupportedParameters = {
  continuous_usage_stats: { neutral: [false], instead: 'use include_usage, whose event comes at the end' },
}

/** @throws ApiError 400 for the first parameter of a table that the request has */
export function refuseUnsupported(given: Readonly<Record<string, unknown>>, table: UnsupportedParameters): void {
  refuseIn(given, table, '')
  const { stream_options: options } = given
  if (typeof options === 'object' && options !== null) {
    refuseIn(options as Record<string, unknown>, unsupportedOfStreams, 'stream_options.')
  }
}

function refuseIn(given: Readonly<Record<string, unknown>>, table: UnsupportedParameters, place: string): void {
  for (const [name, { neutral = [], instead }] of Object.entries(table)) {
    const value = given[name]
    if (value === undefined || value === null || neutral.some((one) => isDeepStrictEqual(one, value))) continue
    const param = place + name
    throw wrongField(
      param,
      `The parameter ${param} is not supported${instead ? `: ${instead}` : '; leave it out'}.`,
      'unsupported_parameter',
    )
  }
}
