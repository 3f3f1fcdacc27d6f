/** Training runs: `train`, the events of a run, and the parts for custom training loops. */
export { newestIntactCheckpoint } from './checkpoints/checkpoint.js'
export { loadCheckpoint, saveCheckpoint, type TrainingLoop } from './checkpoints/loop-checkpoint.js'
export { meanLoss } from './evaluate.js'
export type {
  CheckpointEvent,
  EndEvent,
  EvaluationEvent,
  LogEvent,
  MergeEvent,
  NoticeEvent,
  ProgressEvent,
  SampleEvent,
  StepEvent,
  TrainEvent,
  TrainResult,
} from './events.js'
export type { LearningRate } from './learning-rate.js'
export { type EventCallback, Run } from './run.js'
export { type RunOptions, type TrainOptions, train } from './train.js'
