import type { Tokenizer } from '../../data/tokenizer/tokenizer.js'
import type { NetworkWeights } from '../network/linear-layers.js'
import type { ModelSource } from '../read/model-source.js'

export interface ModelParts {
  tokenizer: Tokenizer | null
  weights: NetworkWeights
  /** Where pristine weights can be read again; null for a model that was made from random numbers. */
  source: ModelSource | null
  rotaryDtype?: 'float32' | 'bfloat16'
}
