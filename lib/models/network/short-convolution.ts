import type { Linear, LinearGroup } from '../../nn/linear.js'
import { shortConvolution, shortConvolutionAfter } from '../../tensor/operations/convolution.js'
import type { Tensor } from '../../tensor/tensor.js'
import { Convolution } from './convolution.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import {
  bySequence,
  type ForwardContext,
  linearInput,
  type MemoryRoom,
  type Mixer,
  type MixerMemory,
  type PastTokens,
} from './mixer.js'
import type { ShortConvolutionPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** LFM2's gated short convolution (arXiv 2511.23404) with its projections. */
export class ShortConvolution implements Mixer {
  readonly projections: LinearGroup
  readonly convolution: Convolution
  readonly output: Linear
  readonly slots: readonly WeightSlot[]

  constructor(plan: ShortConvolutionPlan, weights: WeightLoader) {
    this.projections = loadGroup(plan.projections, weights)
    this.convolution = new Convolution(plan.convolution, weights)
    this.output = loadLinear(plan.output, weights)
    this.slots = [
      ...this.projections.layers.flatMap(WeightSlot.ofLinear),
      ...this.convolution.slots,
      ...WeightSlot.ofLinear(this.output),
    ]
  }

  linears(): Linear[] {
    return [...this.projections.layers, this.output]
  }

  forward(x: Tensor, context: ForwardContext, past: PastTokens | null): Tensor {
    const gatesAndInput = this.projections.forward(linearInput(x, context))
    const { weight, bias } = this.convolution
    const mixed = past
      ? bySequence(gatesAndInput, past, (x, [state]) => shortConvolutionAfter(state!, x, weight, bias))
      : shortConvolution(gatesAndInput, weight, bias, context.offsets)
    return this.output.forward(linearInput(mixed, context))
  }

  /** The state is of the gated inputs. */
  createMemory(room: MemoryRoom): MixerMemory {
    return { rows: null, states: [this.convolution.createState(room)] }
  }
}
