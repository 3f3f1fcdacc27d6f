export { type AnalyzeOptions, analyzeAdapter, analyzeModels, type LayerSpectrum } from './analyze.js'
export { meanSingularValues, spectraByKind } from './kinds.js'
export { lineChart } from './line-chart.js'
export { effectiveRank, type Spectrum, spectrumOf } from './spectrum.js'
