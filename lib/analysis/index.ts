export {
  type AnalyzeModelsOptions,
  type AnalyzeOptions,
  analyzeAdapter,
  analyzeModels,
  type LayerSpectrum,
} from './analyze.js'
export { type KindSpectrum, meanSingularValues, spectraByKind } from './kinds.js'
export { lineChart, type Series } from './line-chart.js'
export { effectiveRank, type Spectrum, spectrumOf } from './spectrum.js'
