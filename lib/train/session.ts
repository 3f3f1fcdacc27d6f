import type { Objective } from '../objectives/objective.js'
import type { TrainOptions } from '../options/index.js'
import type { FoundCheckpoint } from './checkpoints/checkpoint.js'
import type { RunFacts } from './checkpoints/run-facts.js'
import type { TrainerState } from './checkpoints/trainer-state.js'
import type { OutputFolder } from './output/output-folder.js'
import type { TensorboardFile } from './output/tensorboard.js'
import type { RankSync } from './rank-sync.js'
import type { RestartPlan } from './restart-plan.js'
import type { TrainingData } from './setup/training-data.js'
import type { Optimizer, SteppedModel, TrainedParameter } from './trainable.js'

/** How the trained weights leave the run. */
export interface ResultWriter {
  /** Into a checkpoint, beside the weights: the adapter's own files. Null when there is no adapter. */
  saveAdapter: ((folder: string) => Promise<void>) | null
  /** Into the output folder, at the end. */
  saveResult(output: OutputFolder): Promise<void>
}

/** A run that is set up: everything that its steps read, and the little that they change. */
export interface Session {
  readonly model: SteppedModel
  readonly options: TrainOptions
  readonly optimizer: Optimizer
  readonly data: TrainingData
  readonly objective: Objective
  readonly sync: RankSync
  /** The learning rate of the step that follows a state. */
  readonly learningRate: (state: TrainerState) => number
  /** Ends the run once it is aborted. */
  readonly signal: AbortSignal | undefined
  readonly facts: RunFacts
  readonly result: ResultWriter
  /** Null when nothing is written, and on ranks that do not write. */
  readonly output: OutputFolder | null
  /** What the model writes after a prompt, as it is now. */
  readonly sample: (prompt: string) => Promise<string>
  /** Null when no events are written for TensorBoard. */
  readonly tensorboard: TensorboardFile | null
  /** Null when nothing is merged on the way. */
  readonly restarts: RestartPlan | null
  /** What the user should know of the set-up. */
  readonly notices: readonly string[]
  state: TrainerState
  /** Trained tensors; after a restart, those of the fresh adapter. */
  parameters: readonly TrainedParameter[]
  lastCheckpoint: FoundCheckpoint | null
  /** Milliseconds of a clock that only goes forwards. */
  readonly now: () => number
  /** By that clock: when the run began or last saved, and when its last step began. */
  savedAt: number
  steppedAt: number
  /** Since the run started or resumed: seconds in steps and tokens of them. */
  seconds: number
  tokens: number
  /** Most bytes in use on the device since then. */
  peakMemoryBytes: number
  /** Whether trained values are those after the last step, whose metrics are written, and nothing is saving them. */
  canBeSaved: boolean
  ended: boolean
}
