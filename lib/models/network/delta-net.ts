import type { Linear, LinearGroup } from '../../nn/linear.js'
import { activatedTimes, activation } from '../../tensor/operations/activation.js'
import { causalConvolution, convolutionAfter } from '../../tensor/operations/convolution.js'
import { deltaGates, gatedDeltaRule } from '../../tensor/operations/delta-rule.js'
import { splitColumns } from '../../tensor/operations/partition.js'
import { reshape } from '../../tensor/operations/reshaping.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { Convolution } from './convolution.js'
import { type ForwardContext, linearInput } from './forward-context.js'
import { loadGroup, loadLinear, type WeightLoader } from './linear-layers.js'
import type { MemoryRoom, Mixer, MixerMemory, SeenTokens } from './mixer.js'
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

  forward(x: Tensor, context: ForwardContext, seen: SeenTokens | null): Tensor {
    const { projections, shape } = this.plan
    const projected = this.projections.forward(linearInput(x, context))
    const widths = projections.map(({ outFeatures }) => outFeatures)
    const [qkv, outputGate, b, a] = splitColumns(projected, widths) as [Tensor, Tensor, Tensor, Tensor]
    const gates = deltaGates(a, b, this.logRate, this.stepBias)
    const [kernel, { bias }, memory] = [this.convolution.kernel(), this.convolution, seen?.memory.states]
    const convolved = memory
      ? convolutionAfter(memory[0]!, qkv, kernel, bias)
      : causalConvolution(qkv, kernel, bias, context.offsets)
    const states = memory && { start: memory[1]!, final: memory[1]! }
    const results = gatedDeltaRule(activation(convolved, 'silu'), gates, shape, context.offsets, states)
    const heads = [results.shape[0]!, shape.valueHeads, shape.valueSize]
    const normed = reshape(this.norm.forward(reshape(results, heads)), results.shape)
    return this.output.forward(linearInput(activatedTimes(outputGate, normed, 'silu'), context))
  }

  /** The convolution's state, and that of the rule [1, H, Dk, Dv] float32. */
  createMemory(room: MemoryRoom): MixerMemory {
    const { valueHeads, keySize, valueSize } = this.plan.shape
    const state = keep(Tensor.zeros([1, valueHeads, keySize, valueSize], { device: room.device }))
    return { rows: null, states: [this.convolution.createState(room), state] }
  }
}
