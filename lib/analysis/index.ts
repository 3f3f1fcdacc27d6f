export { type AnalyzeOptions, analyzeAdapter, type LayerSpectrum } from './analyze.js'
export { type LineChart, lineChart, type Series } from './line-chart.js'
export { effectiveRank, type Spectrum, spectrumOf } from './spectrum.js'
