/** The run of a job. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isByTime } from '../train/checkpoints/checkpoint.js'
import { type TrainEvent, type TrainOptions, type TrainResult, train } from '../train/index.js'
import { graderHelp } from './ask.js'
import type { JobsHost } from './host.js'
import type { MethodContext } from './method.js'
import { runOptions } from './methods.js'
import type { Job } from './records.js'
import { checkpointsOfRun } from './results.js'
import type { JobStore } from './store.js'
import { WandbRun } from './wandb.js'

/** Milliseconds between looks at a model that the program trains. */
const WAIT = 500

interface JobServer {
  readonly store: JobStore
  readonly host: JobsHost
}

/** Returns the server around a job. @param reference the name in the model of the adapter that it trains further, as it was before */
export function contextOf(job: Job, { store, host }: JobServer, reference: string | null = null): MethodContext {
  const { model, template, onError } = host
  const warn = (message: string) => void store.tell(job, 'warn', message).catch(onError)
  return { model, template, reference, help: graderHelp(host, job.owner), warn }
}

export class RunningJob {
  readonly ending = new AbortController()
  /** Steps taken in this process, and when the first began. */
  progress: { readonly since: number; readonly first: number; step: number; total: number } | null = null
  done: Promise<void> = Promise.resolve()
  /** Names of its checkpoints. */
  #served = new Set<string>()

  constructor(
    readonly job: Job,
    readonly server: JobServer,
    /** Returns the name of the checkpoint of a step. */
    readonly checkpointName: (step: number) => string,
  ) {}

  get id(): string {
    return this.job.id
  }

  /** Trains the job's adapter, beside adapters of the program, which are active again at the end. */
  async train(): Promise<TrainResult> {
    const { job } = this
    const { store, host } = this.server
    const { model, template } = host
    const { signal } = this.ending
    const { run: output, training, validation, continued } = store.pathsOf(job)
    await this.#serveCheckpoints()
    const resume = existsSync(join(output, 'run.yaml'))
    await store.tell(job, 'info', resume ? 'The job continues.' : 'Fine-tuning job started.')
    // The program may train the model too.
    while (model.adapterSet.training.isHeld) await delay(WAIT, undefined, { signal })
    signal.throwIfAborted()
    const wandb = new WandbRun(job, (message) => store.tell(job, 'warn', message))
    const former = model.adapterSet.activeNames()
    model.setActiveAdapters([])
    const reference = job.continues === null || job.objective !== 'dpo' ? null : `${job.id}-before`
    try {
      if (reference !== null) await host.load(reference, continued)
      const options = {
        ...runOptions(job, model, contextOf(job, this.server, reference)).options,
        ...(job.continues !== null && { adapter: continued }),
        template,
        data: training,
        ...(job.data.validation !== null && { evalData: validation }),
        output,
        resume,
        // The record of a job has its grader, so that its rewards are the same.
        ...(resume && { allowChanges: ['threads', 'rewards'] }),
        signal,
        onEvent: async (event: TrainEvent) => {
          await this.#take(event)
          await wandb.take(event)
        },
      }
      return await train(model, options as TrainOptions & { data: string }).finished
    } finally {
      const [own] = model.adapterSet.activeNames()
      model.setActiveAdapters(former.filter((name) => model.adapters.has(name)))
      for (const one of [own, reference]) if (one != null && model.adapters.has(one)) await host.discard(one)
      await wandb.finish()
    }
  }

  async #take(event: TrainEvent): Promise<void> {
    const { job } = this
    const { store } = this.server
    if (event.type === 'step') {
      const { step, totalSteps: total } = event
      this.progress ??= { since: Date.now(), first: step, step, total }
      this.progress.step = step
      if (store.jobs.get(job.id)!.steps !== total) await store.setJob(job, { steps: total })
    } else if (event.type === 'checkpoint') {
      if (isByTime(event.path)) return
      await this.#serveCheckpoints()
      await store.tell(job, 'info', `Checkpoint created at step ${event.step}`)
    } else if (event.type === 'notice') {
      await store.tell(job, 'warn', store.withoutPaths(event.message))
    }
  }

  /** Serves the checkpoints of a run, and drops those that it has replaced. */
  async #serveCheckpoints(): Promise<void> {
    const { store, host } = this.server
    const former = this.#served
    this.#served = new Set()
    for (const { step, path } of await checkpointsOfRun(store.pathsOf(this.job).run)) {
      const name = this.checkpointName(step)
      this.#served.add(name)
      host.serve(name, path)
    }
    for (const name of former) if (!this.#served.has(name)) await host.drop(name)
  }
}
