import { native } from '../../native/addon.js'
import { addingTo, writeByStoring, writeOrDrop } from '../gradient-writes.js'
import { noGrad, record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { mul } from './arithmetic.js'

/**
 * Depthwise causal convolution of packed documents: y[t] = bias + Σ kernel[·, K - 1 - j] · x[t - j] over j < K, channel by
 * channel, over rows t - j of the document of t. x and y [T, C]; kernel [C, K] and bias [C] float32, bias may be null;
 * offsets [B + 1] int32 are the documents' starts. A kernel may also have
 * the shape of Hugging Face's checkpoints, [C, 1, K].
 */
export function causalConvolution(x: Tensor, kernel: Tensor, bias: Tensor | null, offsets: Tensor): Tensor {
  const y = convolved(x, kernel, bias, offsets)
  const parameters = bias ? [kernel, bias] : [kernel]
  return record(y, [x, ...parameters], [x, kernel, offsets], (dY, [input, taps, starts], [dX, dKernel, dBias]) => {
    const gradients = { dKernel: addingTo(dKernel!, matrix), dBias: dBias ? addingTo(dBias) : null }
    writeOrDrop(dX!, input!, (target, accumulate) => {
      const inputs = { dY: dY.native, x: input!.native, kernel: matrix(taps!).native, offsets: starts!.native }
      native.causalConvolutionBackward({ ...inputs, dX: target.native, accumulate, ...gradients })
    })
  })
}

/**
 * Like `causalConvolution` for the next rows of one document, without gradients. The state [1, K - 1, C] has the last rows before
 * x, oldest first (zeros before the first row), and becomes the last rows of x.
 */
export function convolutionAfter(states: Tensor, x: Tensor, kernel: Tensor, bias: Tensor | null): Tensor {
  const state = states.view(states.shape.slice(1))
  const [before, all] = [state.shape[0]!, state.shape[0]! + x.shape[0]!]
  const rows = Tensor.empty([all, x.shape[1]!], x)
  rows.rows(0, before).copyFrom(state)
  rows.rows(before, all).copyFrom(x)
  state.copyFrom(rows.rows(all - before, all))
  const offsets = Tensor.from(Int32Array.of(0, all), [2], { device: x.device, dtype: 'int32' })
  return convolved(rows, kernel, bias, offsets).rows(before, all)
}

/**
 * LFM2's gated convolution of packed documents (arXiv 2511.23404): y = C · convolution(B · x), elementwise, where B, C and x
 * are the columns of gatesAndInput [T, 3 D], in this order. The rest is as in `causalConvolution`.
 */
export function shortConvolution(gatesAndInput: Tensor, kernel: Tensor, bias: Tensor | null, offsets: Tensor): Tensor {
  const y = gatedBoth(gatesAndInput, (x) => convolved(x, kernel, bias, offsets))
  const parameters = bias ? [kernel, bias] : [kernel]
  const saved = [gatesAndInput, offsets, ...parameters]
  return record(y, [gatesAndInput, ...parameters], saved, (dY, tensors, [dInput, dKernel, dBias]) => {
    const [input, starts, taps, shift = null] = tensors as [Tensor, Tensor, Tensor, Tensor?]
    const gradients = { dKernel: addingTo(dKernel!, matrix), dBias: dBias ? addingTo(dBias) : null }
    const [B, C, x] = thirds(input)
    // Both products are computed again: they cost less than keeping them.
    const gated = mul(B, x)
    const dC = mul(dY, convolved(gated, taps, shift, starts))
    const dMixed = mul(dY, C)
    const dGated = Tensor.empty(gated.shape, gated)
    const inputs = { dY: dMixed.native, x: gated.native, kernel: matrix(taps).native, offsets: starts.native }
    native.causalConvolutionBackward({ ...inputs, dX: dGated.native, ...gradients })
    writeByStoring(dInput!, (target) => {
      const parts = [mul(dGated, x), dC, mul(dGated, B)]
      for (const [i, third] of thirds(target).entries()) third.copyFrom(parts[i]!)
    })
  })
}

/** Like `shortConvolution` for the next rows of one document, with a state as in `convolutionAfter`; without gradients. */
export function shortConvolutionAfter(
  state: Tensor,
  gatesAndInput: Tensor,
  kernel: Tensor,
  bias: Tensor | null,
): Tensor {
  return gatedBoth(gatesAndInput, (x) => convolutionAfter(state, x, kernel, bias))
}

function convolved(x: Tensor, kernel: Tensor, bias: Tensor | null, offsets: Tensor): Tensor {
  const y = Tensor.empty(x.shape, x)
  native.causalConvolution(x.native, matrix(kernel).native, bias?.native ?? null, offsets.native, y.native)
  return y
}

/** Returns a kernel, or its gradient, as [C, K], as a constant. */
function matrix(kernel: Tensor): Tensor {
  return noGrad(() => kernel.view([kernel.shape[0]!, kernel.shape.at(-1)!]))
}

function gatedBoth(gatesAndInput: Tensor, mix: (x: Tensor) => Tensor): Tensor {
  const [B, C, x] = thirds(gatesAndInput)
  return mul(C, mix(mul(B, x)))
}

/** Views of the columns of [T, 3 D] as three matrices, as constants. */
function thirds(matrix: Tensor): [Tensor, Tensor, Tensor] {
  const width = matrix.shape[1]! / 3
  const part = (i: number) => matrix.columns(i * width, (i + 1) * width)
  return [part(0), part(1), part(2)]
}
