/** What a training run reports. */

export interface StepEvent {
  type: 'step'
  /** Optimizer step, from 1. */
  step: number
  totalSteps: number
  /** Passes over the data so far; a fraction within a pass. */
  epoch: number
  /** Mean over the step's target tokens, before the update. */
  loss: number
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  learningRate: number
  targetTokens: number
  tokens: number
  /** The speed of this step, from the forward pass to the update. */
  tokensPerSecond: number
  /** The most in use on the device during the step. */
  memoryBytes: number
  /** Further means over the step, of objectives that have some. */
  metrics?: Readonly<Record<string, number>>
}

export interface EvaluationEvent {
  type: 'evaluation'
  step: number
  epoch: number
  /** Mean over the target tokens of the evaluation data. */
  evalLoss: number
  /** Whether no earlier evaluation of this run was lower. */
  best: boolean
  /** Further means over the evaluation data, of objectives that have some. */
  metrics?: Readonly<Record<string, number>>
}

/** What the model, as it is after the step, writes after a prompt. */
export interface SampleEvent {
  type: 'sample'
  step: number
  prompt: string
  text: string
}

export interface CheckpointEvent {
  type: 'checkpoint'
  step: number
  path: string
}

/** An adapter was merged into the weights for good and started again (`mergeEvery`). */
export interface MergeEvent {
  type: 'merge'
  /** The step after which. */
  step: number
  /** Merges so far. */
  merges: number
}

/** Numbers of `run.log`, once they are written. */
export interface LogEvent {
  type: 'log'
  /** The step whose line has them. */
  step: number
  values: Readonly<Record<string, number>>
}

/** Something the user should know and need not act on. */
export interface NoticeEvent {
  type: 'notice'
  message: string
}

export interface TrainResult {
  /** Optimizer steps done, those before a resume included. */
  steps: number
  /** Loss of the last step; null when none was taken. */
  loss: number | null
  /** Loss of the last evaluation; null without evaluation data. */
  evalLoss: number | null
  trainableParameters: number
  /** The speed of the whole run since it started or resumed. */
  tokensPerSecond: number
  peakMemoryBytes: number
  /** The output folder, or null when nothing was written. */
  output: string | null
  /** True when `stop()` ended the run before its last step. */
  stopped: boolean
}

export interface EndEvent extends TrainResult {
  type: 'end'
}

export type TrainEvent =
  | StepEvent
  | EvaluationEvent
  | SampleEvent
  | CheckpointEvent
  | MergeEvent
  | LogEvent
  | NoticeEvent
  | EndEvent
