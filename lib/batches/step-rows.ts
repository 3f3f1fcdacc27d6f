/** The interface between training and its rows, which are either all in memory or streamed. */
import type { Example } from './examples/example.js'
import type { StreamPlace } from './place.js'
import { Sampler, type SamplerOptions } from './sampler.js'

/** A row of an optimizer step. */
export interface StepRow extends Example {
  /** Place within the step, over all ranks. */
  readonly row: number
}

/** The rows of a run, by the steps that use them. */
export interface StepRows {
  /** Number of steps; after `prepare` has found the end of the rows, the step at which they end. */
  readonly totalSteps: number
  /**
   * Resolves once the rows of a step are in memory or `totalSteps` shows that there are none; resolves to a sentence if the
   * rows end early.
   */
  prepare(step: number): Promise<string | null>
  /** Returns this rank's rows of a step, from 0. A stream gives its steps in order, each once. */
  rowsOfStep(step: number): Promise<readonly StepRow[]>
  /** Returns the passes over the data after `step` steps. */
  epochAfter(step: number): number
  /** Place of the next row in a stream; null if the number of the step determines the rows. */
  readonly place: StreamPlace | null
  /** Ends reading. */
  close(): void
}

/** Yields this rank's rows of each step from `first` on. */
export async function* stepsOf(rows: StepRows, first = 0): AsyncGenerator<readonly StepRow[]> {
  for (let step = first; step < rows.totalSteps; step++) yield rows.rowsOfStep(step)
}

export interface SampledOptions extends Omit<SamplerOptions, 'rows'> {
  /** Takes precedence over `epochs`. */
  maxSteps?: number
  /** Each group of `steps` steps is used `times` times before the next group. Default: once. */
  reuse?: { readonly steps: number; readonly times: number }
}

/** Steps over rows of a known number. */
export class SampledRows implements StepRows {
  readonly #row: (index: number) => Example | Promise<Example>
  readonly #sampler: Sampler
  readonly #reuse: Required<SampledOptions>['reuse']
  readonly totalSteps: number
  readonly place = null

  constructor(
    rows: { readonly length: number; row(index: number): Example | Promise<Example> },
    { maxSteps, epochs, reuse = { steps: 1, times: 1 }, ...options }: SampledOptions,
  ) {
    this.#row = (index) => rows.row(index)
    this.#reuse = reuse
    this.#sampler = new Sampler({
      ...options,
      rows: rows.length,
      epochs: maxSteps === undefined ? epochs : undefined,
    })
    this.totalSteps = maxSteps ?? this.#sampler.steps * reuse.times
  }

  async prepare(): Promise<null> {
    return null
  }

  async rowsOfStep(step: number): Promise<StepRow[]> {
    const { steps, times } = this.#reuse
    const run = step - (step % (steps * times))
    const first = run / times + (step % steps)
    const picked = this.#sampler.rowsOfStep(first)
    return Promise.all(picked.map(async ({ index, row }) => ({ ...(await this.#row(index)), row })))
  }

  epochAfter(step: number): number {
    return this.#sampler.epochAfter(Math.ceil(step / this.#reuse.times))
  }

  close(): void {}
}
