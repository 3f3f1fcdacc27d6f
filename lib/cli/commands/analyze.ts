import { writeFileAtomic } from '../../io/atomic.js'
import { AnalyzeSchema } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { fetchBase } from '../hub-files.js'
import { requireFileOutput, requireInputs } from '../paths.js'
import { Progress } from '../terminal/progress.js'

export const analyzeCommand = defineCommand({
  name: 'analyze',
  summary: 'show the singular values of what an adapter adds to each weight',
  schema: AnalyzeSchema,
  idle: ['device', 'dtype', 'rotaryDtype', 'allowTf32', 'seed'],
  examples: ['mora analyze --model model --adapter out --plot spectra.svg'],
  check(options) {
    requireInputs(AnalyzeSchema, options)
    requireFileOutput('plot', options.plot)
  },
  async run(options, { terminal }) {
    const { model, adapter, plot, threshold, allowOtherBase, threads, quiet, offline } = options
    const [{ analyzeAdapter, lineChart }, { describeSpectra, meanSpectra }] = await Promise.all([
      import('../../analysis/index.js'),
      import('../terminal/spectra.js'),
    ])
    const base = model ?? (await fetchBase(adapter!, options, terminal))
    using progress = new Progress(terminal.stderr, { quiet })
    const spectra = await analyzeAdapter({
      model: base,
      adapter: adapter!,
      threshold,
      allowOtherBase,
      threads,
      offline,
      onWarning: progress.warn,
      onProgress: ({ done, total }) => progress.show(`${done}/${total} layers`),
    })
    if (plot !== undefined) {
      const series = meanSpectra(spectra)
      const labels = { xLabel: 'singular value, from the largest', yLabel: 'mean over layers' }
      await writeFileAtomic(plot, lineChart({ title: `ΔW of ${adapter}`, ...labels, series, logarithmic: true }))
    }
    const layers = spectra.map((layer) => ({ ...layer, singularValues: [...layer.singularValues] }))
    return {
      json: { threshold, layers, ...(plot !== undefined && { plot }) },
      text: describeSpectra(spectra, threshold),
    }
  },
})
