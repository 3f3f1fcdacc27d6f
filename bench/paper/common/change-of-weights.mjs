/** The change that a run made: spectra of ΔW of all linear layers of the blocks. */
import { spectrumOf, Tensor } from 'node-mora'
import { mean } from './report.mjs'

/** Singular values above this are counted, as in the paper. */
export const THRESHOLD = 0.1

export async function linearWeights(model) {
  const weights = new Map()
  for (const { name, weight } of model.linears())
    weights.set(name, { shape: weight.shape, values: await weight.data() })
  return weights
}

/** Returns means over layers, given the weights before training. */
export async function changeOfWeights(model, before) {
  const spectra = []
  for (const linear of model.linears()) {
    const { shape, values } = before.get(linear.name)
    const after = await changedWeight(linear, before.get(linear.name))
    const change = after.map((value, i) => value - values[i])
    spectra.push(await spectrumOf(change, shape[0], shape[1], THRESHOLD))
  }
  const length = Math.min(...spectra.map(({ singularValues }) => singularValues.length))
  return {
    metrics: {
      effectiveRank: mean(spectra.map(({ effectiveRank }) => effectiveRank)),
      above: mean(spectra.map(({ aboveThreshold }) => aboveThreshold)),
      spectralNorm: mean(spectra.map(({ spectralNorm }) => spectralNorm)),
    },
    spectrum: Array.from({ length }, (_, i) => mean(spectra.map(({ singularValues }) => singularValues[i]))),
  }
}

/** W with the trained change, in float32: merged into bfloat16, an adapter's change would include its rounding. */
async function changedWeight(linear, { shape, values }) {
  const active = linear.activeAdapters()
  if (active.length === 0) return linear.weight.data()
  const { device } = linear.weight
  const merged = Tensor.from(values, shape, { device })
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  for (const { layer, scale } of active) layer.mergeInto(merged, scale, nonFinite)
  const after = await merged.data()
  for (const tensor of [merged, nonFinite]) tensor.dispose()
  return after
}
