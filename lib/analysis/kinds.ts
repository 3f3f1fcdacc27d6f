/** Averages over the layers of a kind, as in figure 5 of the MoRA paper (arXiv 2405.12130). */
import { z } from 'zod'
import { check, expecting } from '../common/arguments.js'
import type { LayerSpectrum } from './analyze.js'
import type { Spectrum } from './spectrum.js'

const aFigure = z.number()
const spectraArguments = {
  spectra: expecting(
    'a list of spectra of layers',
    z.array(
      z.looseObject({
        name: z.string(),
        aboveThreshold: aFigure,
        effectiveRank: aFigure,
        spectralNorm: aFigure,
        frobeniusNorm: aFigure,
      }),
    ),
  ),
}

/**
 * Averages spectra over the `layers` of each kind, which is the end of their paths without `_proj`: `q`, `k`, `v`, `o`, `gate`, `up`
 * and `down` in a Llama. Layers without a change count.
 */
export function spectraByKind(spectra: readonly LayerSpectrum[]): Record<
  string,
  Omit<Spectrum, 'singularValues'> & {
    /** Number of layers. */
    readonly layers: number
  }
> {
  check({ spectra }, spectraArguments)
  return Object.fromEntries(
    [...byKind(spectra)].map(([kind, layers]) => {
      const mean = (figure: (layer: LayerSpectrum) => number) => meanOf(layers, figure)
      return [
        kind,
        {
          layers: layers.length,
          aboveThreshold: mean(({ aboveThreshold }) => aboveThreshold),
          effectiveRank: mean(({ effectiveRank }) => effectiveRank),
          spectralNorm: mean(({ spectralNorm }) => spectralNorm),
          frobeniusNorm: mean(({ frobeniusNorm }) => frobeniusNorm),
        },
      ]
    }),
  )
}

/** Averages the singular values of each kind of layers by their places, for a plot. */
export function meanSingularValues(spectra: readonly LayerSpectrum[]) {
  return [...byKind(spectra)].map(([name, layers]) => {
    const length = Math.min(...layers.map(({ singularValues }) => singularValues.length))
    const y = (i: number) => meanOf(layers, ({ singularValues }) => singularValues[i]!)
    return { name, points: Array.from({ length }, (_, i) => ({ x: i + 1, y: y(i) })) }
  })
}

function byKind(spectra: readonly LayerSpectrum[]): Map<string, LayerSpectrum[]> {
  const kinds = new Map<string, LayerSpectrum[]>()
  for (const layer of spectra) {
    const kind = layer.name
      .split('.')
      .at(-1)!
      .replace(/_proj$/, '')
    kinds.set(kind, [...(kinds.get(kind) ?? []), layer])
  }
  return kinds
}

const meanOf = (layers: readonly LayerSpectrum[], figure: (layer: LayerSpectrum) => number): number =>
  layers.reduce((sum, layer) => sum + figure(layer), 0) / layers.length
