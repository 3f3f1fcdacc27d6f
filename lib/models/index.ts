export type { AdapterChoice } from './adaptation/adapter-options.js'
export { openAdapter, openBase } from './adaptation/base.js'
export {
  type ExportAdapterOptions,
  type ExportAdapterResult,
  exportAdapter,
  LARGEST_ERROR,
} from './adaptation/export-adapter.js'
export { type MergeModelOptions, type MergeModelResult, mergeModel } from './adaptation/merge-on-disk.js'
export type { SaveOptions } from './adaptation/save-model.js'
export { changeByAdapter, changeByModel } from './adaptation/weight-change.js'
export {
  initModel,
  type LoadOptions,
  loadModel,
  loadModelFor,
} from './load-model.js'
export { type LoadedModel, Model } from './model.js'
export { ModelView } from './model-view.js'
export type { SequencePart } from './network/decoder.js'
export type { ModelConfig } from './network/model-config.js'
export type { ModelOutput } from './network/model-output.js'
export { adaptableLayers } from './network/plan.js'
export type { SequenceCache } from './network/sequence-cache.js'
export type { TokenMemory } from './network/token-memory.js'
export { columnsInFile, weightsByInput, writeImportance } from './quantise/importance.js'
export { ModelSource } from './read/model-source.js'
