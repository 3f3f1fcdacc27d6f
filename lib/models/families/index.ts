import type { Family } from './family.js'
import { gemma } from './gemma.js'
import { gemma2 } from './gemma2.js'
import { gemma3 } from './gemma3.js'
import { gemma4, gemma4Unified } from './gemma4.js'
import { gpt2 } from './gpt2.js'
import { granite } from './granite.js'
import { granite4 } from './granite4.js'
import { lfm2 } from './lfm2.js'
import { llama } from './llama.js'
import { ministral3 } from './ministral3.js'
import { mistral } from './mistral.js'
import { olmo2 } from './olmo2.js'
import { olmo3 } from './olmo3.js'
import { phi3 } from './phi3.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'
import { qwen3_5 } from './qwen3_5.js'
import { smollm3 } from './smollm3.js'

/** Every family of models that this package knows. */
export const families: readonly Family[] = [
  llama,
  mistral,
  ministral3,
  smollm3,
  qwen2,
  qwen3,
  qwen3_5,
  gemma,
  gemma2,
  gemma3,
  gemma4,
  gemma4Unified,
  phi3,
  olmo2,
  olmo3,
  granite,
  granite4,
  lfm2,
  gpt2,
]
