import { AsyncLocalStorage } from 'node:async_hooks'
import { aFunction, aSignal, check, expecting } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { taskLimit } from '../common/task-limit.js'
import { EventChannel } from './event-channel.js'
import type { TrainEvent, TrainResult } from './events.js'
import { LoggedNumbers } from './output/metrics.js'
import { isStoppedEarly } from './stopped-early.js'

/** The interface of a run for the training recipe. */
export interface RunControl {
  readonly stopRequested: boolean
  readonly isPaused: boolean
  /** Numbers that the user logged, to be written. */
  readonly logged: LoggedNumbers
  /** Declares that options, data and resume are accepted: the first step follows. */
  begun(): void
  /** Requests the end of the run after the current step. */
  stop(): void
  emit(event: TrainEvent): Promise<void>
  /** Resolves at once, or when a paused run is resumed or stopped. */
  whilePaused(): Promise<void>
  /** Resolves as `work` does, or to null once a stop is requested. */
  unlessStopped<Value>(work: Promise<Value>): Promise<Value | null>
  /** Runs `work` while no other exclusive work runs: a step and a `save()` never overlap. */
  exclusive<Value>(work: () => Promise<Value>): Promise<Value>
  /** Sets the function by which `save()` writes a checkpoint; it resolves to the checkpoint's folder. */
  onSave(save: () => Promise<string>): void
}

/**
 * Called with every event, and awaited before the run goes on; if it throws, the run ends. It may save, pause and stop the run.
 * Once it asks for the end of the run (`stop()`, `finished`), the run goes on without waiting for it.
 */
export type EventCallback = (event: TrainEvent) => void | Promise<void>

type TrainRecipe = (control: RunControl) => Promise<TrainResult>

const runArguments = {
  recipe: expecting('what a run does (train makes runs)', aFunction),
  onEvent: aFunction.optional(),
  signal: aSignal.optional(),
}

/**
 * A training run that has begun. Iterate it to receive its events (the loop body and the training steps alternate; leaving the
 * loop early stops the run and waits until everything is saved), or only `await run.finished`. `await using run = train(…)` stops
 * it at the end of the block.
 */
export class Run implements AsyncIterable<TrainEvent>, AsyncDisposable {
  readonly #started: Promise<void>
  readonly #finished: Promise<TrainResult>
  /** Whether a caller waits for the end of the run, and so receives its error. */
  #isWatched = false
  readonly #channel: EventChannel<TrainEvent>
  #stopRequested = false
  readonly #onStop = new Set<() => void>()
  #paused: { promise: Promise<void>; release: () => void } | null = null
  readonly #exclusive = taskLimit(1)
  #save: (() => Promise<string>) | null = null
  readonly #logged = new LoggedNumbers()
  /** Lets the run go on without the call of `onEvent` in which it is used. */
  readonly #release = new AsyncLocalStorage<() => void>()
  /** The error of an `onEvent` for which the run had stopped waiting. */
  #thrown: { error: unknown } | null = null
  #isOver = false
  readonly #onEvent: EventCallback | undefined

  constructor(recipe: TrainRecipe, onEvent?: EventCallback, signal?: AbortSignal) {
    this.#onEvent = onEvent
    check({ recipe, onEvent, signal }, runArguments)
    const requestStop = () => this.#requestStop()
    this.#channel = new EventChannel(async () => {
      requestStop()
      await this.#finished.catch(unlessStoppedEarly)
    })
    signal?.addEventListener('abort', requestStop)
    let start = { begun: () => {}, refused: (_: unknown) => {} }
    this.#started = new Promise((begun, refused) => {
      start = { begun, refused }
    })
    this.#started.catch(() => {}) // a caller that uses neither promise receives the error by `finished`
    this.#finished = this.#execute(recipe, start).finally(() => {
      this.#isOver = true
      this.#release.disable() // or every later promise of the process would carry it
      this.#logged.end()
      signal?.removeEventListener('abort', requestStop)
    })
  }

  /**
   * Resolves when options, data and the run to resume are accepted, before the first step; rejects with the error that says why
   * they are not. A service can answer then: `finished` need not be awaited for that error as well.
   */
  get started(): Promise<void> {
    this.#started.catch(() => this.#watch())
    return this.#started
  }

  /** Resolves when the run has ended and everything is saved; rejects with the error that ended it. */
  get finished(): Promise<TrainResult> {
    this.#release.getStore()?.()
    this.#isWatched = true
    return this.#finished
  }

  /** Pauses the run after the current step, until `resume()`. */
  pause(): void {
    if (this.#paused || this.#stopRequested) return
    let release = () => {}
    const promise = new Promise<void>((resolve) => {
      release = resolve
    })
    this.#paused = { promise, release }
  }

  /** Continues after `pause()`; does nothing otherwise. */
  resume(): void {
    this.#paused?.release()
    this.#paused = null
  }

  /**
   * Ends the run after the current step, with a checkpoint and the trained adapter. While many rows are still read, there is nothing
   * to save: it rejects with a RunError `stopped`.
   */
  stop(): Promise<TrainResult> {
    this.#requestStop()
    return this.finished
  }

  /** Writes a checkpoint after the current step, also while paused. Resolves to its folder. */
  save(): Promise<string> {
    return this.#exclusive(async () => {
      if (!this.#save) throw new UsageError('ended', 'The run ended before it had anything to save.')
      return this.#save()
    })
  }

  /**
   * Adds numbers of your own, such as `{ reward: 0.3 }`, to the line in `metrics.jsonl` of the step (or evaluation) whose event
   * is being handled, or else to the next line. They are also written to TensorBoard; then an event `log` reports them.
   * @throws UsageError for names that `metrics.jsonl` uses itself, for values that are not finite, and once the run has ended
   */
  log(values: Readonly<Record<string, number>>): void {
    this.#logged.add(values)
  }

  /** Iterates all further events, after up to 1,000 earlier ones. A run has one reader. */
  [Symbol.asyncIterator](): AsyncIterator<TrainEvent, void> {
    if (!this.#channel.attach()) {
      throw new UsageError('several-readers', 'Expected one reader of a run, but its events are already being read.')
    }
    this.#watch() // the reader's loop throws it
    return this.#channel
  }

  /**
   * Ends the run after the current step, for `await using`, and resolves when everything is saved, or at once while rows are read.
   * Rejects with the error that ended the run, unless `finished`, `started` or the iteration has reported it.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const isReported = this.#isWatched
    try {
      await this.stop()
    } catch (error) {
      if (!isReported) unlessStoppedEarly(error)
    }
  }

  /** Marks the run's error as reported elsewhere. */
  #watch(): void {
    this.#isWatched = true
    this.#finished.catch(() => {})
  }

  #requestStop(): void {
    this.#stopRequested = true
    this.#channel.runFreely()
    this.resume()
    for (const onStop of this.#onStop) onStop()
  }

  #unlessStopped<Value>(work: Promise<Value>): Promise<Value | null> {
    return new Promise((resolve, reject) => {
      const onStop = () => resolve(null)
      if (this.#stopRequested) onStop()
      this.#onStop.add(onStop)
      void work.then(resolve, reject).finally(() => this.#onStop.delete(onStop))
    })
  }

  async #execute(
    recipe: TrainRecipe,
    { begun, refused }: { begun: () => void; refused: (error: unknown) => void },
  ): Promise<TrainResult> {
    const run = this
    try {
      const result = await recipe({
        get stopRequested() {
          return run.#stopRequested
        },
        get isPaused() {
          return run.#paused !== null
        },
        logged: this.#logged,
        begun,
        stop: () => run.#requestStop(),
        emit: (event) => run.#emit(event),
        whilePaused: () => run.#paused?.promise ?? Promise.resolve(),
        unlessStopped: (work) => run.#unlessStopped(work),
        exclusive: (work) => run.#exclusive(work),
        onSave: (save) => {
          run.#save = save
        },
      })
      begun()
      const end = { type: 'end' as const, ...result }
      await this.#call(end)
      // Not awaited: nothing follows that a reader could delay, and the reader may wait for `finished`.
      void this.#channel.send(end)
      this.#channel.close()
      return result
    } catch (error) {
      refused(error)
      // The caller that stopped the run needs no report of it.
      if (isStoppedEarly(error)) this.#watch()
      this.#channel.close({ error })
      throw error
    }
  }

  async #emit(event: TrainEvent): Promise<void> {
    if (this.#thrown) throw this.#thrown.error
    await this.#call(event)
    await this.#channel.send(event)
  }

  /** Calls `onEvent`, and waits for it unless it waits for the run. */
  #call(event: TrainEvent): Promise<void> {
    const onEvent = this.#onEvent
    if (!onEvent) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const call = async () => onEvent(event)
      void this.#release.run(resolve, call).then(resolve, (error: unknown) => {
        if (this.#isOver) throw error
        this.#thrown ??= { error }
        reject(error)
      })
    })
  }
}

function unlessStoppedEarly(error: unknown): void {
  if (!isStoppedEarly(error)) throw error
}
