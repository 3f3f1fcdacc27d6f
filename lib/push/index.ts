/** Uploads to the Hugging Face hub. */
export { type PushOptions, type PushProgress, type PushResult, pushToHub } from './push.js'
