import type { Decoder } from './decoder.js'
import { ForwardPasses } from './forward-passes.js'

/** The passes of a run, with the active adapters. */
export class HeldPasses extends ForwardPasses {
  /** @param withAdapters returns passes with other adapters, which a run compares with its own */
  constructor(
    decoder: Decoder,
    readonly withAdapters: (adapters?: readonly string[]) => ForwardPasses,
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
