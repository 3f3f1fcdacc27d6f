/** The events that a training run reports. */
import type { SourceReport } from '../batches/examples/report.js'
import type { TokeniseProgress } from '../batches/examples/tokenise.js'

/** Rows are being read and tokenised before the first step; reading goes on while the event is handled. Few rows have none. */
export interface ProgressEvent extends TokeniseProgress {
  /** The kind of the event: `progress`. */
  type: 'progress'
}

/** An optimizer step was taken. */
export interface StepEvent {
  /** The kind of the event: `step`. */
  type: 'step'
  /** Optimizer step, from 1. */
  step: number
  /** The last step of the run, unless it is stopped earlier. */
  totalSteps: number
  /** Passes over the data so far, with the fraction of the current one. */
  epoch: number
  /** Mean over the step's target tokens, before the update. */
  loss: number
  /** Global norm of the mean gradient, before clipping. */
  gradNorm: number
  /** The rate of this step's update. */
  learningRate: number
  /** Number of target tokens in the step, over all ranks. */
  targetTokens: number
  /** Number of tokens in the step, prompts included, over all ranks. */
  tokens: number
  /** The speed of this step, from the forward pass to the update. */
  tokensPerSecond: number
  /** Peak memory in use on the device during the step, in bytes. */
  memoryBytes: number
  /** Further means over the step, for objectives that have them. */
  metrics?: Readonly<Record<string, number>>
}

/** The loss on the evaluation data was measured. */
export interface EvaluationEvent {
  /** The kind of the event: `evaluation`. */
  type: 'evaluation'
  /** Optimizer steps taken before it. */
  step: number
  /** Passes over the training data so far, with the fraction of the current one. */
  epoch: number
  /** Mean over the target tokens of the evaluation data. */
  evalLoss: number
  /** Whether this is the lowest evaluation loss of the run so far. */
  best: boolean
  /** Further means over the evaluation data, for objectives that have them. */
  metrics?: Readonly<Record<string, number>>
}

/** The model's answer to a prompt, after a step. */
export interface SampleEvent {
  /** The kind of the event: `sample`. */
  type: 'sample'
  /** Optimizer steps taken before it. */
  step: number
  /** The prompt, one of `samplePrompt`. */
  prompt: string
  /** The generated text, without the prompt. */
  text: string
}

/** A checkpoint was written; the run can be resumed from it. */
export interface CheckpointEvent {
  /** The kind of the event: `checkpoint`. */
  type: 'checkpoint'
  /** The optimizer step after which it was written. */
  step: number
  /** Folder. */
  path: string
}

/** An adapter was merged into the weights permanently and restarted (`mergeEvery`). */
export interface MergeEvent {
  /** The kind of the event: `merge`. */
  type: 'merge'
  /** The optimizer step after which it was merged. */
  step: number
  /** Merges so far. */
  merges: number
}

/** Numbers given to `run.log`, once they are written. */
export interface LogEvent {
  /** The kind of the event: `log`. */
  type: 'log'
  /** The step in whose line they are written. */
  step: number
  /** The numbers, by name. */
  values: Readonly<Record<string, number>>
}

/** Information for the user that needs no action. */
export interface NoticeEvent {
  /** The kind of the event: `notice`. */
  type: 'notice'
  /** A sentence for people; its wording may change. */
  message: string
}

/** The result of a run. */
export interface TrainResult {
  /** Optimizer steps taken, those before a resume included. */
  steps: number
  /** Loss of the last step; null if there was none. */
  loss: number | null
  /** Loss of the last evaluation; null without evaluation data. */
  evalLoss: number | null
  /**
   * The evaluation with the lowest loss; null before the first. With `keepBest` or `patience`, the model and the output end with
   * its values.
   */
  best: {
    /** Optimizer steps taken before the evaluation. */
    step: number
    /** Loss. */
    evalLoss: number
    /** The checkpoint of its step; null if there is none. */
    path: string | null
    /** Whether the model and the output have the values of its step at the end. */
    isResult: boolean
  } | null
  /** Number of trained values. */
  trainableParameters: number
  /** Average speed since the run started or resumed. */
  tokensPerSecond: number
  /** Peak memory in use on the device since the run started or resumed, in bytes. */
  peakMemoryBytes: number
  /** Reports on the sources of rows, the evaluation data last; empty for an objective that gives none. */
  sources: readonly SourceReport[]
  /** The output folder, or null if nothing was written. */
  output: string | null
  /** True if `stop()` ended the run before its last step. */
  stopped: boolean
}

/** The run has ended and everything is saved: the last event. */
export interface EndEvent extends TrainResult {
  /** The kind of the event: `end`. */
  type: 'end'
}

/** Any event of a run, by its `type`. */
export type TrainEvent =
  | ProgressEvent
  | StepEvent
  | EvaluationEvent
  | SampleEvent
  | CheckpointEvent
  | MergeEvent
  | LogEvent
  | NoticeEvent
  | EndEvent
