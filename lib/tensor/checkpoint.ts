import { backwardFrom } from './backward.js'
import { isRecording, noGrad, record, TapeNode, withRecording } from './tape.js'
import { Tensor } from './tensor.js'

/**
 * Runs `body(inputs)`, saves only the inputs, and runs `body` again in the backward pass (gradient checkpointing): slower, with
 * less memory. `parameters` are the trained tensors that `body` uses, `constants` the others (except frozen weights, which live
 * as long as the model). Both runs must compute the same.
 */
export function recomputed<Inputs extends object>(
  body: (inputs: Inputs) => Tensor,
  inputs: Inputs,
  parameters: readonly Tensor[],
  constants: readonly Tensor[],
): Tensor {
  if (!isRecording()) return body(inputs)
  const y = noGrad(() => body(inputs))
  const names = Object.keys(inputs)
  const tensors: Tensor[] = Object.values(inputs)
  return record(y, [...tensors, ...parameters], [...tensors, ...constants], (dY, saved, targets) => {
    const starts = names.map((_, i) => {
      const start = saved[i]!.view(saved[i]!.shape, saved[i]!.strides)
      start.node = targets[i]!.needed ? new TapeNode<Tensor>([], [], null, start) : null
      return start
    })
    const again = withRecording(true, () =>
      body(Object.fromEntries(names.map((name, i) => [name, starts[i]!])) as Inputs),
    )
    if (!again.node) return
    backwardFrom(again.node, dY, Tensor.empty)
    for (const [i, { node }] of starts.entries()) {
      if (!node?.gradient) continue
      targets[i]!.pass(node.gradient)
      node.gradient.release()
      node.gradient = null
    }
  })
}
