/** Formats the spectra of many layers. */
import { type LayerSpectrum, type Spectrum, spectraByKind } from '../../analysis/index.js'
import { formatTable } from './format.js'

/** A table of layers, and one of the means over each kind. */
export function describeSpectra(spectra: readonly LayerSpectrum[], threshold: number): string {
  const figures = [`above ${threshold}`, 'effective rank', 'largest', 'Frobenius norm']
  const figuresOf = (spectrum: Omit<Spectrum, 'singularValues'>) => [
    Number(spectrum.aboveThreshold.toFixed(1)),
    spectrum.effectiveRank.toFixed(1),
    spectrum.spectralNorm.toPrecision(4),
    spectrum.frobeniusNorm.toPrecision(4),
  ]
  const layers = spectra.map((layer) => [layer.name, `${layer.outFeatures} × ${layer.inFeatures}`, ...figuresOf(layer)])
  const kinds = Object.entries(spectraByKind(spectra)).map(([kind, means]) => [kind, means.layers, ...figuresOf(means)])
  const tables = [
    formatTable(['layer', 'shape', ...figures], layers),
    formatTable(['mean of', 'layers', ...figures], kinds),
  ]
  return tables.join('\n\n')
}
