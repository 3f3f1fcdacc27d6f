/** The head and its loss over a vocabulary of 262,144 tokens, beside float64. */

import { linearCrossEntropy, Parameter } from 'node-mora'
import { relative, rounded, uniform } from './values.mjs'

export function casesOf({ tiny, device }) {
  const sizes = tiny ? { N: 5, D: 16, V: 300 } : { N: 100, D: 64, V: 262144 }
  return ['float32', 'bfloat16'].map((dtype) => head(device, sizes, dtype))
}

function head(device, { N, D, V }, dtype) {
  return {
    name: `head and loss, ${N} rows, vocabulary ${V}, ${dtype}`,
    bytes: 8 * V * D + 4 * N * V,
    async run(held) {
      const narrow = (values) => (dtype === 'bfloat16' ? rounded(values) : values)
      const weights = narrow(uniform(V * D, 1))
      const inputs = narrow(uniform(N * D, 2))
      const targets = Int32Array.from({ length: N }, (_, i) => (i % 7 === 3 ? -1 : (i * 7919 + V - 1) % V))
      const hidden = held.hold(new Parameter('hidden', held.from(device, 'float32', [N, D], inputs)))
      const weight = held.from(device, dtype, [V, D], weights)
      const input = dtype === 'float32' ? hidden : held.hold(hidden.as(dtype))
      const loss = held.hold(linearCrossEntropy(input, weight, held.from(device, 'int32', [N], targets)))
      const total = await loss.item()
      const withGradient = dtype === 'float32'
      const expected = reference(inputs, weights, targets, { N, D, V }, withGradient)
      const lossApart = Math.abs(total / expected.total - 1)
      if (!withGradient) return { apart: lossApart, allowed: 1e-4, what: 'the loss' }
      await loss.backward()
      const gradientApart = relative(await hidden.grad.data(), expected.gradient)
      // A sum of V terms one after the other is off by about √V roundings; that of all results which is off most, by some more.
      const allowed = 8 * Math.sqrt(V) * 2 ** -24
      return { apart: Math.max(lossApart, gradientApart), allowed, what: 'loss and gradient' }
    },
  }
}

/** Sum of -log softmax(x Wᵀ)[target] over rows with one, and its gradient by x where that is wanted, in float64. */
function reference(inputs, weights, targets, { N, D, V }, withGradient) {
  const gradient = new Float64Array(N * D)
  const logits = new Float64Array(V)
  let total = 0
  for (let row = 0; row < N; row++) {
    if (targets[row] < 0) continue
    let largest = Number.NEGATIVE_INFINITY
    for (let v = 0; v < V; v++) {
      let sum = 0
      for (let i = 0; i < D; i++) sum += inputs[row * D + i] * weights[v * D + i]
      logits[v] = sum
      largest = Math.max(largest, sum)
    }
    let sum = 0
    for (let v = 0; v < V; v++) sum += Math.exp(logits[v] - largest)
    const logSum = largest + Math.log(sum)
    total += logSum - logits[targets[row]]
    if (!withGradient) continue
    for (let v = 0; v < V; v++) {
      const p = Math.exp(logits[v] - logSum) - (v === targets[row] ? 1 : 0)
      for (let i = 0; i < D; i++) gradient[row * D + i] += p * weights[v * D + i]
    }
  }
  return { total, gradient }
}
