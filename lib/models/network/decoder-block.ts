import type { Linear, LinearGroup } from '../../nn/linear.js'
import { activation, gatedActivation } from '../../tensor/operations/activation.js'
import { addResidual } from '../../tensor/operations/norm.js'
import { scaled, scaledBy } from '../../tensor/operations/scaled.js'
import { withOwnGradient } from '../../tensor/operations/shaped.js'
import { scope } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import { Attention } from './attention.js'
import { DeltaNet } from './delta-net.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import { type BlockContext, type ForwardContext, linearInput, type Mixer, type PastTokens } from './mixer.js'
import { Norm } from './norm.js'
import { PerLayerGate } from './per-layer-inputs.js'
import type { DecoderBlockPlan, MixerPlan } from './plan.js'
import { ShortConvolution } from './short-convolution.js'
import { WeightSlot } from './weight-slot.js'

/** An MLP with one hidden layer, gated or not. */
class Mlp {
  readonly projections: LinearGroup
  readonly down: Linear
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: DecoderBlockPlan['mlp'],
    weights: WeightLoader,
  ) {
    this.projections = loadGroup(plan.projections, weights)
    this.down = loadLinear(plan.down, weights)
    this.slots = this.linears().flatMap(WeightSlot.ofLinear)
  }

  linears(): Linear[] {
    return [...this.projections.layers, this.down]
  }

  /** x [T, D] → [T, D] */
  forward(x: Tensor, context: ForwardContext): Tensor {
    const { gated, activation: f } = this.plan
    const hidden = this.projections.forward(linearInput(x, context))
    const activated = gated ? gatedActivation(hidden, f) : activation(hidden, f)
    return this.down.forward(linearInput(activated, context))
  }
}

/** One block: a mixer of tokens and an MLP, each with norms before or after it and a residual connection. */
export class DecoderBlock {
  readonly beforeMixer: Norm | null
  readonly mixer: Mixer
  readonly afterMixer: Norm | null
  readonly beforeMlp: Norm | null
  readonly mlp: Mlp
  readonly afterMlp: Norm | null
  readonly perLayer: PerLayerGate | null
  /** The factor of its result, [1]. */
  readonly outputScale: Tensor | null
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
    this.perLayer = plan.perLayer ? new PerLayerGate(plan.perLayer, weights) : null
    this.outputScale = plan.outputScale ? weights.float32(plan.outputScale.name) : null
    const parts = [
      this.beforeMixer,
      this.mixer,
      this.afterMixer,
      this.beforeMlp,
      this.mlp,
      this.afterMlp,
      this.perLayer,
    ]
    const scale = this.outputScale ? [WeightSlot.ofConstant(plan.outputScale!.name, this.outputScale)] : []
    this.slots = [...parts.flatMap((part) => part?.slots ?? []), ...scale]
  }

  /** Index of the block whose keys and values it attends to; null: its own. */
  get source(): number | null {
    return (this.plan.mixer.kind === 'attention' ? this.plan.mixer.source : undefined) ?? null
  }

  /** Whether other blocks attend to its keys and values. */
  get isSource(): boolean {
    return this.plan.mixer.kind === 'attention' && this.plan.mixer.isSource === true
  }

  linears(): Linear[] {
    return [...this.mixer.linears(), ...this.mlp.linears(), ...(this.perLayer?.linears() ?? [])]
  }

  /** Frees the memory that layers shared, once their weights are elsewhere. */
  disposeFused(): void {
    for (const { fused } of [this.mixer.projections, this.mlp.projections])
      if (fused?.disposed === false) fused.dispose()
  }

  /** Keys and values of x, for this block and others: [T, 2K E]. */
  keysValues(x: Tensor, context: ForwardContext): Tensor {
    return scope(() => {
      // Its gradient is added as it is when the block is computed again: with the same bits.
      const own = withOwnGradient(x)
      return this.mixer.keysValues!(this.beforeMixer?.forward(own) ?? own, context)
    })
  }

  /** x [T, D] → [T, D]. With a memory of earlier tokens, x continues their sequences, without gradients. */
  forward(x: Tensor, context: BlockContext, past: PastTokens | null = null): Tensor {
    const { residualScale } = this.plan
    const around = (before: Norm | null, body: (normed: Tensor) => Tensor, after: Norm | null, residual: Tensor) => {
      const y = body(before ? before.forward(residual) : residual)
      return addResidual(scaled(after ? after.forward(y) : y, residualScale), residual)
    }
    return scope(() => {
      const mix = (normed: Tensor) => this.mixer.forward(normed, context, past)
      const between = around(this.beforeMixer, mix, this.afterMixer, x)
      const after = around(this.beforeMlp, (normed) => this.mlp.forward(normed, context), this.afterMlp, between)
      const gated = this.perLayer?.forward(after, context.perLayer!, context) ?? after
      return this.outputScale ? scaledBy(gated, this.outputScale) : gated
    })
  }
}

function mixerOf(plan: MixerPlan, weights: WeightLoader): Mixer {
  switch (plan.kind) {
    case 'attention':
      return new Attention(plan, weights)
    case 'shortConvolution':
      return new ShortConvolution(plan, weights)
    case 'deltaNet':
      return new DeltaNet(plan, weights)
  }
}
