/** What a run changed: the spectra of ΔW of all linear layers of the blocks. */
import { spectrumOf } from '../../../dist/analysis/index.js'
import { mean } from './report.mjs'

/** Singular values above this are counted, as in the paper. */
export const THRESHOLD = 0.1

export async function linearWeights(model) {
  const weights = new Map()
  for (const { name, weight } of model.linears())
    weights.set(name, { shape: weight.shape, values: await weight.data() })
  return weights
}

/** Means over layers, for weights from before; adapters are merged. */
export async function changeOfWeights(model, before) {
  for (const name of model.adapters.keys()) await model.mergeAdapter(name)
  const after = await linearWeights(model)
  const spectra = []
  for (const [name, { shape, values }] of before) {
    const change = after.get(name).values.map((value, i) => value - values[i])
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
