// The linear layers of a Llama block, three of them and two of them on one input, with random weights in bfloat16.

import { mora, Parameter, scope, Tensor } from 'node-mora'
import {
  backwardFrom,
  LayerMaker,
  Linear,
  LinearGroup,
  LinearInput,
  moraMethod,
  record,
  weightOf,
} from '../common/internals.mjs'
import { fillNormal, normal } from '../common/random.mjs'

const dtype = 'bfloat16'

export class LinearLayers {
  constructor(device, { tokens, hiddenSize, intermediateSize }) {
    this.device = device
    // Stands before a layer, so that the layer computes the gradient of its input.
    this.before = new Parameter('before', Tensor.zeros([1], { device }))
    this.groups = [
      this.#group(['q', 'k', 'v'], hiddenSize, hiddenSize),
      this.#group(['o'], hiddenSize, hiddenSize),
      this.#group(['gate', 'up'], hiddenSize, intermediateSize),
      this.#group(['down'], intermediateSize, hiddenSize),
    ]
    const width = (group) => group.layers[0].inFeatures
    this.inputs = this.groups.map((group) => normal([tokens, width(group)], { device, dtype }))
    const height = (group) => group.layers.reduce((sum, { outFeatures }) => sum + outFeatures, 0)
    this.gradients = this.groups.map((group) => normal([tokens, height(group)], { device, dtype }))
    this.nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  }

  #group(names, inFeatures, outFeatures) {
    const whole = normal([names.length * outFeatures, inFeatures], { device: this.device, dtype })
    const part = (i) => whole.rows(i * outFeatures, (i + 1) * outFeatures)
    return new LinearGroup(
      names.map((name, i) => new Linear(name, weightOf(part(i)), null)),
      weightOf(whole),
    )
  }

  get #adapters() {
    const layers = this.groups.flatMap((group) => group.layers)
    return layers.flatMap((linear) => linear.activeAdapters().map(({ layer }) => ({ linear, layer })))
  }

  /** Replaces the adapter of every layer by MoRA of `{operator, rank}`; null removes it. */
  async adapt(adapter) {
    for (const { linear, layer } of this.#adapters) {
      linear.adapters.clear()
      layer.dispose()
    }
    if (!adapter) return
    for (const linear of this.groups.flatMap((group) => group.layers)) {
      const layer = await new LayerMaker(moraMethod, mora(adapter), [linear]).create(
        { layer: linear, device: this.device, adapter: 'measured' },
        0,
        linear.weight,
      )
      for (const parameter of layer.parameters) fillNormal(parameter, 1e-3)
      linear.adapters.set('measured', { layer, active: true, scale: 1 })
    }
  }

  /** Forward and backward, as in one optimizer step: everything derived from the matrices is computed anew. */
  pass() {
    for (const { layer } of this.#adapters) {
      for (const parameter of layer.parameters) {
        parameter.zeroGrad()
        parameter.version++
      }
    }
    scope(() => {
      const results = this.groups.map((group, i) => {
        const x = record(this.inputs[i].view(this.inputs[i].shape), [this.before], [], () => {})
        return group.forward(new LinearInput(x))
      })
      results.forEach((y, i) => {
        if (!y.node) throw new Error('Expected a layer whose input has a gradient to record itself.')
        backwardFrom(y.node, this.gradients[i].view(this.gradients[i].shape), Tensor.empty)
      })
    })
  }

  merge() {
    for (const { linear, layer } of this.#adapters)
      layer.mergeInto(/** @type {Tensor} */ (linear.weight.floats), 1e-3, this.nonFinite)
  }
}
