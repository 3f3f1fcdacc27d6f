/** Training jobs and batches of a served model, and the files that they read and write. */

export { graderHelp } from './ask.js'
export { checkRows } from './check-rows.js'
export type { JobsHost } from './host.js'
export { positiveTo, wholeTo } from './hyperparameters.js'
export { type JobRequest, Jobs } from './jobs.js'
export { CLIENT_OPTIONS, JOB_METHODS } from './methods.js'
export {
  COMPLETION_WINDOW,
  endOfWindow,
  type Job,
  type RequestBatch,
  type StoredFile,
  UPLOAD_PURPOSES,
} from './records.js'
export { requireServed } from './reinforcement.js'
export { checkpointsOfRun, type StepMetrics, stepsOfRun } from './results.js'
export { newId } from './store.js'
