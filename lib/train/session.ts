import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { Model } from '../models/model.js'
import type { ForwardPasses } from '../models/network/forward-passes.js'
import type { RunObjective } from '../objectives/objective.js'
import type { SampleContext } from '../objectives/rollouts.js'
import type { AdamW } from '../optim/adamw.js'
import type { TrainSettings } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import type { FoundCheckpoint } from './checkpoints/checkpoint.js'
import type { RunFacts } from './checkpoints/run-facts.js'
import type { TrainerState } from './checkpoints/trainer-state.js'
import type { OutputFolder } from './output/output-folder.js'
import type { TensorboardFile } from './output/tensorboard.js'
import type { RankSync } from './rank-sync.js'
import type { RestartPlan } from './restart-plan.js'
import type { TrainingData } from './setup/training-data.js'

/** Writes the trained weights. */
export interface ResultWriter {
  /** Writes the adapter's own files into a checkpoint, in addition to the weights. Null if there is no adapter. */
  saveAdapter: ((folder: string) => Promise<void>) | null
  /** Writes the result into the output folder, at the end. */
  saveResult(output: OutputFolder): Promise<void>
}

/** What the steps of this process did, since the run or its adapter started. */
interface StepCounts {
  /** Steps taken. */
  taken: number
  /** Steps at a learning rate above 0. */
  rated: number
  /** Steps at such a rate with a gradient that is not zero. */
  effective: number
}

/** A run that is set up: everything that its steps read, and the few values that they change. */
export interface Session {
  readonly model: Model
  /** The run's own passes of the model. */
  readonly passes: ForwardPasses
  readonly options: TrainSettings
  readonly optimizer: AdamW
  readonly data: TrainingData
  readonly objective: RunObjective
  readonly sync: RankSync
  /** Returns the learning rate of the step that follows a state. */
  readonly learningRate: (state: TrainerState) => number
  /** Ends the run once it is aborted. */
  readonly signal: AbortSignal | undefined
  readonly facts: RunFacts
  readonly result: ResultWriter
  /** Null if nothing is written, and on ranks that do not write. */
  readonly output: OutputFolder | null
  /** Returns the text that the model generates after a prompt, with its current weights. */
  readonly sample: (prompt: string) => Promise<string>
  /** Opens a writer of answers by the model with its current weights. */
  readonly openWriter: SampleContext['openWriter']
  readonly tokenizer: Tokenizer | null
  /** Null if no events are written for TensorBoard. */
  readonly tensorboard: TensorboardFile | null
  /** Null if the run merges nothing. */
  readonly restarts: RestartPlan | null
  /** The values to which parameters return at each restart, by name. */
  readonly valuesToRestore: ReadonlyMap<string, Float32Array>
  /** Messages about the setup for the user. */
  readonly notices: readonly string[]
  state: TrainerState
  /** Trained tensors; after a restart, those of the new adapter. */
  parameters: readonly Parameter[]
  lastCheckpoint: FoundCheckpoint | null
  /** The folder of the checkpoints that the run was resumed from; null if it was not. */
  readonly resumedBeside: string | null
  /** Trained values of the best evaluation, where a run that ends with them writes nothing. */
  bestValues: ReadonlyMap<string, Float32Array> | null
  /** The step whose values the run ends with, if that is not the last. */
  resultStep: number | null
  /** Copies of the values that the run began with; null for a resumed run, and where they take too much memory. */
  readonly initial: ReadonlyMap<Parameter, Float32Array> | null
  counts: StepCounts
  /** What was said to be untrained so far. */
  untrained: string | null
  /** Returns the time of a monotonic clock in milliseconds. */
  readonly now: () => number
  /** Times of that clock: when the run began or last saved, and when its last step began. */
  savedAt: number
  steppedAt: number
  /** Seconds spent in steps, and tokens in them, since the run started or resumed. */
  seconds: number
  tokens: number
  /** Peak memory in use on the device since then, in bytes. */
  peakMemoryBytes: number
  /** Whether trained values are those after the last step, whose metrics are written, and nothing is saving them. */
  canBeSaved: boolean
  ended: boolean
  /** The first error of a function that the model called; null if there was none. */
  toolError: string | null
}
