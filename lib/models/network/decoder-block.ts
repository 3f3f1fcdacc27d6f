import type { Linear } from '../../nn/linear.js'
import { addResidual } from '../../tensor/operations/norm.js'
import { scaled } from '../../tensor/operations/scaled.js'
import { scope } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import { Attention } from './attention.js'
import type { ForwardContext } from './forward-context.js'
import type { WeightLoader } from './linear-layers.js'
import type { Mixer, SeenTokens } from './mixer.js'
import { Mlp } from './mlp.js'
import { Norm } from './norm.js'
import type { DecoderBlockPlan, MixerPlan } from './plan.js'
import type { WeightSlot } from './weight-slot.js'

/** One block: a mixer of tokens and an MLP, each with norms before or after it and a residual connection. */
export class DecoderBlock {
  readonly beforeMixer: Norm | null
  readonly mixer: Mixer
  readonly afterMixer: Norm | null
  readonly beforeMlp: Norm | null
  readonly mlp: Mlp
  readonly afterMlp: Norm | null
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: DecoderBlockPlan,
    weights: WeightLoader,
  ) {
    this.beforeMixer = Norm.of(plan.beforeMixer, weights)
    this.mixer = mixerOf(plan.mixer, weights)
    this.afterMixer = Norm.of(plan.afterMixer, weights)
    this.beforeMlp = Norm.of(plan.beforeMlp, weights)
    this.mlp = new Mlp(plan.mlp, weights)
    this.afterMlp = Norm.of(plan.afterMlp, weights)
    const parts = [this.beforeMixer, this.mixer, this.afterMixer, this.beforeMlp, this.mlp, this.afterMlp]
    this.slots = parts.flatMap((part) => part?.slots ?? [])
  }

  linears(): Linear[] {
    return [...this.mixer.linears(), ...this.mlp.linears()]
  }

  /** Frees the memory that layers shared, once their weights are elsewhere. */
  disposeFused(): void {
    for (const { fused } of [this.mixer.projections, this.mlp.projections])
      if (fused?.disposed === false) fused.dispose()
  }

  /** x [T, D] → [T, D]; with seen tokens, x follows them in one document, and there are no gradients. */
  forward(x: Tensor, context: ForwardContext, seen: SeenTokens | null = null): Tensor {
    const { residualScale } = this.plan
    const around = (before: Norm | null, body: (normed: Tensor) => Tensor, after: Norm | null, residual: Tensor) => {
      const y = body(before ? before.forward(residual) : residual)
      return addResidual(scaled(after ? after.forward(y) : y, residualScale), residual)
    }
    return scope(() => {
      const mix = (normed: Tensor) => this.mixer.forward(normed, context, seen)
      const between = around(this.beforeMixer, mix, this.afterMixer, x)
      return around(this.beforeMlp, (normed) => this.mlp.forward(normed, context), this.afterMlp, between)
    })
  }
}

function mixerOf(plan: MixerPlan, weights: WeightLoader): Mixer {
  switch (plan.kind) {
    case 'attention':
      return new Attention(plan, weights)
  }
}
