import type { LayerSpectrum, spectraByKind } from '../../analysis/index.js'
import { writeFileAtomic } from '../../io/atomic.js'
import { AnalyzeSchema, checkAnalyzeOptions } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { fetchBase } from '../hub-files.js'
import { requireFileOutput, requireInputs } from '../paths.js'
import { formatTable } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'

export const analyzeCommand = defineCommand({
  name: 'analyze',
  summary: 'show the singular values of the change to each weight by an adapter or by training',
  schema: AnalyzeSchema,
  idle: ['device', 'dtype', 'rotaryDtype', 'allowTf32', 'seed'],
  examples: [
    'mora analyze --model model --adapter out --plot spectra.svg',
    'mora analyze --model out/model --base model',
  ],
  check(options) {
    checkAnalyzeOptions(options)
    requireInputs(AnalyzeSchema, options)
    requireFileOutput('plot', options.plot)
  },
  async run(options, { terminal }) {
    const { base, adapter, plot, threshold, allowOtherBase, threads, quiet, offline } = options
    const { analyzeAdapter, analyzeModels, lineChart, meanSingularValues, spectraByKind } = await import(
      '../../analysis/index.js'
    )
    const model = options.model ?? (await fetchBase(adapter!, options, terminal))
    using progress = new Progress(terminal.stderr, { quiet })
    const common = {
      model,
      threshold,
      threads,
      offline,
      onWarning: progress.warn,
      onProgress: ({ done, total }: { done: number; total: number }) => progress.show(`${done}/${total} layers`),
    }
    const spectra =
      base === undefined
        ? await analyzeAdapter({ ...common, adapter: adapter!, allowOtherBase })
        : await analyzeModels({ ...common, base })
    if (plot !== undefined) {
      const labels = { xLabel: 'singular value, from the largest', yLabel: 'mean over layers' }
      const title = `ΔW of ${adapter ?? model}`
      const series = meanSingularValues(spectra)
      await writeFileAtomic(plot, lineChart({ title, ...labels, series, logarithmic: true }))
    }
    const layers = spectra.map((layer) => ({ ...layer, singularValues: [...layer.singularValues] }))
    const kinds = spectraByKind(spectra)
    return {
      json: { threshold, kinds, layers, ...(plot !== undefined && { plot }) },
      text: describe(spectra, kinds, threshold),
    }
  },
})

/** Returns a table of layers, and one of the means over each kind. */
function describe(
  spectra: readonly LayerSpectrum[],
  kinds: ReturnType<typeof spectraByKind>,
  threshold: number,
): string {
  const figures = [`above ${threshold}`, 'effective rank', 'largest', 'Frobenius norm']
  const figuresOf = (spectrum: (typeof kinds)[string] | LayerSpectrum) => [
    Number(spectrum.aboveThreshold.toFixed(1)),
    spectrum.effectiveRank.toFixed(1),
    spectrum.spectralNorm.toPrecision(4),
    spectrum.frobeniusNorm.toPrecision(4),
  ]
  const layers = spectra.map((layer) => [layer.name, `${layer.outFeatures} × ${layer.inFeatures}`, ...figuresOf(layer)])
  const means = Object.entries(kinds).map(([kind, mean]) => [kind, mean.layers, ...figuresOf(mean)])
  const tables = [
    formatTable(['layer', 'shape', ...figures], layers),
    formatTable(['mean of', 'layers', ...figures], means),
  ]
  return tables.join('\n\n')
}
