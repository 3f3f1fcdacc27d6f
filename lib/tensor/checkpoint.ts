import { backwardFrom } from './backward.js'
import { isRecording, noGrad, record, TapeNode, withRecording } from './tape.js'
import { Tensor } from './tensor.js'

/**
 * Runs `body(x)`, saves only x, and runs `body` again in the backward pass (gradient checkpointing): slower, with less memory.
 * `parameters` are the trained tensors that `body` uses, `constants` the others (except frozen weights, which live as long as
 * the model). Both runs must compute the same.
 */
export function recomputed(
  body: (x: Tensor) => Tensor,
  x: Tensor,
  parameters: readonly Tensor[],
  constants: readonly Tensor[],
): Tensor {
  if (!isRecording()) return body(x)
  const y = noGrad(() => body(x))
  return record(y, [x, ...parameters], [x, ...constants], (dY, [input], [dX]) => {
    const start = input!.view(input!.shape, input!.strides)
    start.node = dX!.needed ? new TapeNode<Tensor>([], [], null, start) : null
    const again = withRecording(true, () => body(start))
    if (!again.node) return
    backwardFrom(again.node, dY, Tensor.empty, start.node)
    const gradient = start.node?.gradient
    if (!gradient) return
    dX!.pass(gradient)
    gradient.release()
    start.node!.gradient = null
  })
}
