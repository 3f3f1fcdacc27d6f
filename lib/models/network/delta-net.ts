import type { Linear, LinearGroup } from '../../nn/linear.js'
import { activatedTimes, activation } from '../../tensor/operations/activation.js'
import { causalConvolution, convolutionAfter } from '../../tensor/operations/convolution.js'
import { deltaGates, gatedDeltaRule } from '../../tensor/operations/delta-rule.js'
import { splitColumns } from '../../tensor/operations/partition.js'
import { reshape } from '../../tensor/operations/reshaping.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
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
import { Norm } from './norm.js'
import type { DeltaNetPlan } from './plan.js'
import { WeightSlot } from './weight-slot.js'

/** A gated delta net (arXiv 2412.06464) with its projections. */
export class DeltaNet implements Mixer {
  readonly projections: LinearGroup
  readonly convolution: Convolution
  /** [H] float32 */
  logRate: Tensor
  /** [H] float32 */
  stepBias: Tensor
  /** Over each head's result. */
  readonly norm: Norm
  readonly output: Linear
  readonly slots: readonly WeightSlot[]

  constructor(
    readonly plan: DeltaNetPlan,
    weights: WeightLoader,
  ) {
    this.projections = loadGroup(plan.projections, weights)
    this.convolution = new Convolution(plan.convolution, weights)
    this.logRate = weights.float32(plan.logRate.name)
    this.stepBias = weights.float32(plan.stepBias.name)
    this.norm = new Norm(plan.norm, weights)
    this.output = loadLinear(plan.output, weights)
    this.slots = [
      ...this.projections.layers.flatMap(WeightSlot.ofLinear),
      ...this.convolution.slots,
      WeightSlot.ofVector(plan.logRate.name, this, 'logRate'),
      WeightSlot.ofVector(plan.stepBias.name, this, 'stepBias'),
      ...this.norm.slots,
      ...WeightSlot.ofLinear(this.output),
    ]
  }

  linears(): Linear[] {
    return [...this.projections.layers, this.output]
  }

  forward(x: Tensor, context: ForwardContext, past: PastTokens | null): Tensor {
    const projected = this.projections.forward(linearInput(x, context))
    const offsetsOf = (part: Tensor) => (part === projected ? context.offsets : documentOf(part))
    const mixed = past
      ? bySequence(projected, past, (part, states) => this.#mixed(part, offsetsOf(part), states))
      : this.#mixed(projected, context.offsets)
    return this.output.forward(linearInput(mixed, context))
  }

  /** The convolution's state, and that of the rule [slots, H, Dk, Dv] float32. */
  createMemory(room: MemoryRoom): MixerMemory {
    const { valueHeads, keySize, valueSize } = this.plan.shape
    const state = keep(Tensor.zeros([room.slots, valueHeads, keySize, valueSize], { device: room.device }))
    return { rows: null, states: [this.convolution.createState(room), state] }
  }

  /** Between the projections: [T, .] → [T, H Dv], after the states, which move on, if there are any. */
  #mixed(projected: Tensor, offsets: Tensor, [last, state]: readonly Tensor[] = []): Tensor {
    const { projections, shape } = this.plan
    const widths = projections.map(({ outFeatures }) => outFeatures)
    const [qkv, outputGate, b, a] = splitColumns(projected, widths) as [Tensor, Tensor, Tensor, Tensor]
    const gates = deltaGates(a, b, this.logRate, this.stepBias)
    const { weight, bias } = this.convolution
    const convolved = last ? convolutionAfter(last, qkv, weight, bias) : causalConvolution(qkv, weight, bias, offsets)
    const states = state && { start: state, final: state }
    const results = gatedDeltaRule(activation(convolved, 'silu'), gates, shape, offsets, states)
    const heads = [results.shape[0]!, shape.valueHeads, shape.valueSize]
    const normed = reshape(this.norm.forward(reshape(results, heads)), results.shape)
    return activatedTimes(outputGate, normed, 'silu')
  }
}

/** The offsets of x [T, .] as one document. */
const documentOf = ({ shape, device }: Tensor): Tensor =>
  Tensor.from(Int32Array.of(0, shape[0]!), [2], { device, dtype: 'int32' })
