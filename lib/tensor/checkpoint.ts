import { backwardFrom } from './backward.js'
import { isRecording, noGrad, record, TapeNode, withRecording } from './tape.js'
import { Tensor } from './tensor.js'

/**
 * Runs `body(x)` without keeping anything but x, and runs it again in the backward pass: slower, less memory. `parameters`
 * are the trained tensors that it uses, `constants` the others (frozen weights aside, which live as long as the model). The
 * second run must do what the first did.
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
