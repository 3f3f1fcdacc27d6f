/** Uploads to the Hugging Face hub. */
export { type PushOptions, type PushResult, pushToHub } from './push.js'
export type { PushProgress } from './upload-progress.js'
