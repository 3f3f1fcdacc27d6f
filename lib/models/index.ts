export type { ModelConfig } from './config.js'
export type { KeyValueCache } from './key-value-cache.js'
export { type DeviceOptions, initModel, loadModel, openDevice } from './load.js'
export { Model } from './model.js'
