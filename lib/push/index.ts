/** Uploads to the Hugging Face hub. */

export type { PushProgress } from './push.js'
export { type PushOptions, type PushResult, pushToHub } from './push.js'
