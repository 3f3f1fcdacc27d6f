/** Numbers of jobs in Weights & Biases, by its library for JavaScript, which whoever runs the server installs. */
import { withDeadline } from '../common/cancellation.js'
import { UsageError } from '../common/errors.js'
import type { TrainEvent } from '../train/index.js'
import type { Job } from './records.js'

/** The part of `@wandb/sdk` that jobs use. */
interface Wandb {
  init(settings: object): Promise<unknown>
  log(numbers: object): unknown
  finish(): Promise<unknown>
}

const PACKAGE = '@wandb/sdk'
/** Seconds that the library may take for a call: the job waits. */
const MOST_SECONDS = 30

/** @throws UsageError `unfit-options` if the library is not installed */
export async function loadWandb(): Promise<Wandb> {
  try {
    return ((await import(PACKAGE)) as { default: Wandb }).default
  } catch (cause) {
    const message = `The integration wandb needs ${PACKAGE} beside node-mora on the server: install it, or leave integrations out.`
    throw new UsageError('unfit-options', message, { cause, option: 'integrations' })
  }
}

/** The run of a job at each project that it names. A failure there ends nothing here: it is told once. */
export class WandbRun {
  #wandb: Promise<Wandb | null>

  constructor(
    { id, model, objective, options: { integrations, hyperparameters, mora, seed } }: Job,
    readonly warn: (message: string) => Promise<void>,
  ) {
    const settings = integrations?.[0]?.wandb as object | undefined
    const config = { model, method: objective, seed, ...hyperparameters, ...mora }
    const begin = async () => {
      const wandb = await loadWandb()
      await wandb.init({ name: id, config, ...settings })
      return wandb
    }
    this.#wandb = settings === undefined ? Promise.resolve(null) : this.#unlessFailed(begin)
  }

  take(event: TrainEvent): Promise<unknown> {
    const numbers = numbersOf(event)
    return this.#use(async (wandb) => numbers && wandb.log(numbers))
  }

  async finish(): Promise<void> {
    await this.#use((wandb) => wandb.finish())
  }

  async #use(work: (wandb: Wandb) => Promise<unknown>): Promise<void> {
    const wandb = await this.#wandb
    if (!wandb) return
    const isFine = await this.#unlessFailed(async () => {
      await work(wandb)
      return true
    })
    if (!isFine) this.#wandb = Promise.resolve(null)
  }

  async #unlessFailed<Value>(work: () => Promise<Value>): Promise<Value | null> {
    try {
      return await withDeadline(work, { seconds: MOST_SECONDS })
    } catch (error) {
      await this.warn(
        `Weights & Biases gets no more numbers: ${error instanceof Error ? error.message : String(error)}`,
      )
      return null
    }
  }
}

function numbersOf(event: TrainEvent): object | null {
  if (event.type === 'step') {
    const { step, loss: train_loss, learningRate: learning_rate, metrics } = event
    return { step, train_loss, learning_rate, ...metrics }
  }
  return event.type === 'evaluation' ? { step: event.step, full_valid_loss: event.evalLoss } : null
}
