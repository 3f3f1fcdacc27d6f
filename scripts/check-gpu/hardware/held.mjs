import { Tensor } from 'node-mora'

/** Tensors of one case, freed together. */
export class Held {
  #tensors = []

  hold(tensor) {
    this.#tensors.push(tensor)
    return tensor
  }

  empty(device, dtype, shape) {
    return this.hold(Tensor.empty(shape, { device, dtype }))
  }

  from(device, dtype, shape, values) {
    return this.hold(Tensor.from(values, shape, { device, dtype }))
  }

  view(tensor, ...place) {
    return this.hold(tensor.view(...place))
  }

  dispose() {
    for (const tensor of this.#tensors.reverse()) tensor.dispose()
  }
}
