// Operations that do little with what they read: `[{ name, bytes, run, dispose }]`, each operand read once and each
// result written once. Letters: T tokens, D hidden, F features of the MLP, H heads, E head size, V vocabulary; a bytes of
// an activation.
import { Tensor } from 'node-mora'
import { native } from '../common/internals.mjs'
import { normal } from '../common/random.mjs'

export function memoryCases(config, T, dtype, device) {
  const { hiddenSize: D, intermediateSize: F, heads: H, headSize: E, vocabularySize: V } = config
  const a = dtype === 'bfloat16' ? 2 : 4
  const activation = (...shape) => normal(shape, { device, dtype })
  const float32 = (...shape) => normal(shape, { device })
  const table = (of) =>
    Tensor.from(
      Float32Array.from({ length: T * (E / 2) }, (_, i) =>
        of(Math.floor(i / (E / 2)) / 10000 ** ((i % (E / 2)) / (E / 2))),
      ),
      [T, E / 2],
      { device },
    )
  const integers = (count, of) =>
    Tensor.from(
      Int32Array.from({ length: count }, (_, i) => of(i)),
      [count],
      { device, dtype: 'int32' },
    )
  const lossRows = Math.max(1, Math.min(T, Math.floor((48 * 2 ** 20) / (4 * V))))

  return [
    () =>
      one(
        'RMSNorm of x + residual',
        4 * T * D * a,
        [activation(T, D), activation(T, D), float32(D), activation(T, D), float32(T)],
        (x, residual, weight, y, rstd) =>
          native.rmsNorm({ x, residual, weight, weightOffset: 0, epsilon: 1e-5, y, rstd }),
      ),
    () =>
      one(
        'RMSNorm backward',
        4 * T * D * a,
        [activation(T, D), activation(T, D), float32(D), ones([T], device), activation(T, D)],
        (dY, x, weight, rstd, dX) =>
          native.rmsNormBackward({ dY, x, weight, weightOffset: 0, rstd, dX, accumulate: true }),
      ),
    () =>
      one('SwiGLU', 3 * T * F * a, [activation(T, F), activation(T, F), activation(T, F)], (gate, up, y) =>
        native.activation('silu', gate, up, y),
      ),
    () =>
      one(
        'SwiGLU backward',
        5 * T * F * a,
        Array.from({ length: 5 }, () => activation(T, F)),
        (dY, gate, up, dGate, dUp) => native.activationBackward({ f: 'silu', dY, gate, up, dGate, dUp }),
      ),
    () =>
      one(
        'RoPE',
        2 * T * H * E * a,
        [activation(T, H, E), integers(T, (i) => i), table(Math.cos), table(Math.sin)],
        (x, positions, cosines, sines) => native.rope(x, positions, cosines, sines, false),
      ),
    () =>
      one(
        'cross-entropy and its gradient',
        lossRows * V * (4 + a),
        [float32(lossRows, V), integers(lossRows, (i) => (i * 31) % V), float32(lossRows), activation(lossRows, V)],
        (logits, targets, losses, dLogits) => native.crossEntropy(logits, targets, 0, losses, dLogits),
      ),
  ]
}

/** AdamW reads parameter, gradient and two moments, and writes all but the gradient. */
export function adamwCase(device) {
  const elements = 2 ** 22
  const tensors = [...[0, 1, 2].map(() => normal([elements], { device })), ones([elements], device), ones([1], device)]
  const step = { learningRate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, step: 1 }
  return one('AdamW', 7 * 4 * elements, tensors, (parameters, gradients, first, second, scale) =>
    native.adamw({
      parameters: [parameters],
      gradients: [gradients],
      firstMoments: [first],
      secondMoments: [second],
      step,
      scale,
    }),
  )
}

function one(name, bytes, tensors, call) {
  return {
    name,
    bytes,
    run: () => call(...tensors.map((tensor) => tensor.native)),
    dispose: () => {
      for (const tensor of tensors) tensor.dispose()
    },
  }
}

function ones(shape, device) {
  const tensor = Tensor.empty(shape, { device })
  native.fill(tensor.native, 1)
  return tensor
}
