/** The change that a run made: spectra of ΔW of the linear layers, by kind. */
import { spectraByKind, spectrumOf, Tensor } from 'node-mora'
import { mean } from './report.mjs'

/** Singular values above this are counted, as in figure 5 of the paper. */
export const THRESHOLD = 0.1

export async function linearWeights(model) {
  const weights = new Map()
  for (const { name, weight } of model.linears()) weights.set(name, await weight.data())
  return weights
}

/**
 * Given the weights before training, returns how many singular values of ΔW are above the threshold, the mean of each kind of
 * layer (`q`, `gate`, …), and the mean effective rank and spectrum of all.
 */
export async function spectraOfChange(model, before) {
  const spectra = []
  for (const linear of model.linears()) {
    const [rows, columns] = linear.weight.shape
    const values = before.get(linear.name)
    const change = (await trainedWeight(linear)).map((value, i) => value - values[i])
    const spectrum = await spectrumOf(change, rows, columns, THRESHOLD)
    spectra.push({ name: linear.name, inFeatures: columns, outFeatures: rows, ...spectrum })
  }
  const length = Math.min(...spectra.map(({ singularValues }) => singularValues.length))
  const kinds = Object.entries(spectraByKind(spectra))
  return {
    above: Object.fromEntries(kinds.map(([kind, { aboveThreshold }]) => [kind, aboveThreshold])),
    effectiveRank: mean(spectra.map(({ effectiveRank }) => effectiveRank)),
    spectrum: Array.from({ length }, (_, i) => mean(spectra.map(({ singularValues }) => singularValues[i]))),
  }
}

/** Returns W with the active adapters in float32: merged into bfloat16, an adapter's change would include its rounding. */
async function trainedWeight(linear) {
  const { device, shape } = linear.weight
  const values = await linear.weight.data()
  const active = linear.activeAdapters()
  if (active.length === 0) return values
  const merged = Tensor.from(values, shape, { device })
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  for (const { layer, scale } of active) layer.mergeInto(merged, scale, nonFinite)
  const after = await merged.data()
  for (const tensor of [merged, nonFinite]) tensor.dispose()
  return after
}
