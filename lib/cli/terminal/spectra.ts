/** Formats the spectra of many layers. */
import type { LayerSpectrum, Series } from '../../analysis/index.js'
import { formatTable } from './format.js'

export function describeSpectra(spectra: readonly LayerSpectrum[], threshold: number): string {
  return formatTable(
    ['layer', 'shape', `above ${threshold}`, 'effective rank', 'largest', 'Frobenius norm'],
    spectra.map((layer) => [
      layer.name,
      `${layer.outFeatures} × ${layer.inFeatures}`,
      layer.aboveThreshold,
      layer.effectiveRank.toFixed(1),
      layer.spectralNorm.toPrecision(4),
      layer.frobeniusNorm.toPrecision(4),
    ]),
  )
}

/** Averages over layers of the same kind (`q_proj`), one series each. */
export function meanSpectra(spectra: readonly LayerSpectrum[]): Series[] {
  const kindOf = ({ name }: LayerSpectrum) => name.split('.').at(-1)!
  return [...new Set(spectra.map(kindOf))].map((name) => {
    const layers = spectra.filter((layer) => kindOf(layer) === name)
    const length = Math.min(...layers.map(({ singularValues }) => singularValues.length))
    const meanOf = (i: number) => layers.reduce((sum, layer) => sum + layer.singularValues[i]!, 0) / layers.length
    return { name, points: Array.from({ length }, (_, i) => ({ x: i + 1, y: meanOf(i) })) }
  })
}
