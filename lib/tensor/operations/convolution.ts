import { native } from '../../native/addon.js'
import { addingTo, writeOrDrop } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * Depthwise causal convolution of packed documents: y[t] = bias + Σ kernel[·, K - 1 - j] · x[t - j] over j < K, channel by
 * channel, over rows t - j of the document of t. x and y [T, C]; kernel [C, K] and bias [C] float32, bias may be null;
 * offsets [B + 1] int32 are the documents' starts.
 */
export function causalConvolution(x: Tensor, kernel: Tensor, bias: Tensor | null, offsets: Tensor): Tensor {
  const y = Tensor.empty(x.shape, x)
  native.causalConvolution(x.native, kernel.native, bias?.native ?? null, offsets.native, y.native)
  const parameters = bias ? [kernel, bias] : [kernel]
  return record(y, [x, ...parameters], [x, kernel, offsets], (dY, [input, taps, starts], [dX, dKernel, dBias]) => {
    const gradients = { dKernel: addingTo(dKernel!), dBias: dBias ? addingTo(dBias) : null }
    writeOrDrop(dX!, input!, (target, accumulate) => {
      const inputs = { dY: dY.native, x: input!.native, kernel: taps!.native, offsets: starts!.native }
      native.causalConvolutionBackward({ ...inputs, dX: target.native, accumulate, ...gradients })
    })
  })
}
