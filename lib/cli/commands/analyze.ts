import { writeFileAtomic } from '../../io/atomic.js'
import { AnalyzeSchema, checkAnalyzeOptions } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { fetchBase } from '../hub-files.js'
import { requireFileOutput, requireInputs } from '../paths.js'
import { Progress } from '../terminal/progress.js'

export const analyzeCommand = defineCommand({
  name: 'analyze',
  summary: 'show the singular values of what an adapter or training changed in each weight',
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
    const [{ analyzeAdapter, analyzeModels, lineChart, meanSingularValues, spectraByKind }, { describeSpectra }] =
      await Promise.all([import('../../analysis/index.js'), import('../terminal/spectra.js')])
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
    return {
      json: { threshold, kinds: spectraByKind(spectra), layers, ...(plot !== undefined && { plot }) },
      text: describeSpectra(spectra, threshold),
    }
  },
})
