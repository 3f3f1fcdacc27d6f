import type { Model } from '../models/model.js'
import type { ForwardPasses } from '../models/network/forward-passes.js'
import type { RunObjective } from '../objectives/objective.js'
import type { AdamW } from '../optim/adamw.js'
import type { TrainSettings } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import type { Metrics } from './output/metrics.js'
import type { OutputFolder } from './output/output-folder.js'
import type { RankSync } from './rank-sync.js'
import type { RestartPlan } from './restart-plan.js'
import type { RunRows } from './rows.js'
import type { RunFacts } from './run-facts.js'
import type { TrainerState } from './trainer-state.js'

/** A run that is set up. */
export interface Session {
  readonly options: TrainSettings
  readonly work: RunWork
  readonly rows: RunRows
  readonly output: RunOutput
  readonly progress: RunProgress
}

/** The model and everything that its steps and evaluations compute with, on all ranks. */
export interface RunWork {
  readonly model: Model
  /** The run's own passes of the model. */
  readonly passes: ForwardPasses
  readonly objective: RunObjective
  readonly optimizer: AdamW
  /** Trained tensors; after a restart, the new adapter's. */
  parameters: readonly Parameter[]
  readonly sync: RankSync
  /** Ends the run once it is aborted. */
  readonly signal: AbortSignal | undefined
  /** The resolved configuration, as `run.yaml` and checkpoints record it. */
  readonly facts: RunFacts
  /** Returns the learning rate of the step that follows a state. */
  readonly learningRate: (state: TrainerState) => number
  /** Name of the adapter that is the result; null if that is the whole model. */
  readonly adapter: string | null
  /** The restarts of the adapter, and the values to which parameters return at each, by name. Null if the run merges nothing. */
  readonly restarts: (RestartPlan & { readonly values: ReadonlyMap<string, Float32Array> }) | null
  /** Copies of the values that the run began with; null for a resumed run, and where they take too much memory. */
  readonly initial: ReadonlyMap<Parameter, Float32Array> | null
  /** Models that the run has loaded for its objective. */
  readonly teachers: readonly Model[]
  /** Whether the trained values are the values after the last step, its metrics are written, and nothing is saving them. */
  canBeSaved: boolean
}

/** Where a run writes. */
export interface RunOutput {
  /** Null if nothing is written, and on ranks that do not write. */
  readonly folder: OutputFolder | null
  readonly metrics: Metrics
  lastCheckpoint: { readonly step: number; readonly path: string } | null
  /** The folder of the checkpoints that the run was resumed from; null if it was not. */
  readonly resumedBeside: string | null
  /** Trained values of the best evaluation, where a run that ends with them writes nothing. */
  bestValues: ReadonlyMap<string, Float32Array> | null
  /** The step whose values the run ends with, if that is not the last. */
  resultStep: number | null
}

/** The progress of a run. */
export interface RunProgress {
  /** As checkpoints record it. */
  state: TrainerState
  /**
   * Counts of this process's steps since the run or its adapter started: all steps, steps at a learning rate above 0, and among
   * these the steps whose gradient is not zero.
   */
  counts: { readonly taken: number; readonly rated: number; readonly effective: number }
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
  /** The first error of a function that the model called; null if there was none. */
  toolError: string | null
  hasEnded: boolean
}
