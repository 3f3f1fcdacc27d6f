/** What a training run reports. */

/** An optimizer step was taken. */
export interface StepEvent {
  /** Tells this event from others: `step`. */
  type: 'step'
  /** Optimizer step, from 1. */
  step: number
  /** The step that ends the run, unless it is stopped earlier. */
  totalSteps: number
  /** Passes over the data so far; a fraction within a pass. */
  epoch: number
  /** Mean over the step's target tokens, before the update. */
  loss: number
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  /** The rate of this step's update. */
  learningRate: number
  /** Tokens of the step that are trained, over all ranks. */
  targetTokens: number
  /** Tokens of the step, prompts included, over all ranks. */
  tokens: number
  /** The speed of this step, from the forward pass to the update. */
  tokensPerSecond: number
  /** The most in use on the device during the step. */
  memoryBytes: number
  /** Further means over the step, of objectives that have some. */
  metrics?: Readonly<Record<string, number>>
}

/** The evaluation data was measured. */
export interface EvaluationEvent {
  /** Tells this event from others: `evaluation`. */
  type: 'evaluation'
  /** Optimizer steps taken before it. */
  step: number
  /** Passes over the training data so far. */
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
  /** Tells this event from others: `sample`. */
  type: 'sample'
  /** Optimizer steps taken before it. */
  step: number
  /** One of `samplePrompt`, as it was given. */
  prompt: string
  /** What the model wrote after it, without the prompt. */
  text: string
}

/** A checkpoint was written, from which the run can be resumed. */
export interface CheckpointEvent {
  /** Tells this event from others: `checkpoint`. */
  type: 'checkpoint'
  /** The optimizer step that it was written after. */
  step: number
  /** Its folder. */
  path: string
}

/** An adapter was merged into the weights for good and started again (`mergeEvery`). */
export interface MergeEvent {
  /** Tells this event from others: `merge`. */
  type: 'merge'
  /** The step after which. */
  step: number
  /** Merges so far. */
  merges: number
}

/** Numbers of `run.log`, once they are written. */
export interface LogEvent {
  /** Tells this event from others: `log`. */
  type: 'log'
  /** The step whose line has them. */
  step: number
  /** The numbers, by name. */
  values: Readonly<Record<string, number>>
}

/** Something the user should know and need not act on. */
export interface NoticeEvent {
  /** Tells this event from others: `notice`. */
  type: 'notice'
  /** A sentence for people; its wording may change. */
  message: string
}

/** How a run ended. */
export interface TrainResult {
  /** Optimizer steps done, those before a resume included. */
  steps: number
  /** Loss of the last step; null when none was taken. */
  loss: number | null
  /** Loss of the last evaluation; null without evaluation data. */
  evalLoss: number | null
  /** Number of trained values. */
  trainableParameters: number
  /** The speed of the whole run since it started or resumed. */
  tokensPerSecond: number
  /** The most in use on the device since the run started or resumed. */
  peakMemoryBytes: number
  /** The output folder, or null when nothing was written. */
  output: string | null
  /** True when `stop()` ended the run before its last step. */
  stopped: boolean
}

/** The run has ended and everything is saved: the last event. */
export interface EndEvent extends TrainResult {
  /** Tells this event from others: `end`. */
  type: 'end'
}

/** Everything that a run reports, told apart by `type`. */
export type TrainEvent =
  | StepEvent
  | EvaluationEvent
  | SampleEvent
  | CheckpointEvent
  | MergeEvent
  | LogEvent
  | NoticeEvent
  | EndEvent
