import type { ModelView } from './model-view.js'
import type { Decoder } from './network/decoder.js'
import { ForwardPasses } from './network/forward-passes.js'

/** The passes of a run, with the active adapters. */
export class RunPasses extends ForwardPasses {
  /** @param withAdapters returns passes with other adapters, which a run compares with its own */
  constructor(
    decoder: Decoder,
    readonly withAdapters: (adapters?: readonly string[]) => ModelView,
  ) {
    super(decoder)
  }

  override trial() {
    const trial = super.trial()
    return {
      lossAsync: trial.lossAsync.bind(trial),
      forwardAsync: trial.forwardAsync.bind(trial),
      withAdapters: (adapters?: readonly string[]) => this.withAdapters(adapters).trial(),
    }
  }
}
