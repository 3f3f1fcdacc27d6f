import { runObjective, sft } from '../common/internals.mjs'

/** Seconds of a clock that all processes of a machine share. */
export const now = () => Number(process.hrtime.bigint()) / 1e9

/**
 * Records from outside when a step's forward and backward pass end on the device, and when each of its sums of gradients could
 * begin and has ended.
 */
export class Watch {
  /** @type {{ forward?: number, backward?: number, sums: { bytes: number, ready: number, end: number }[] }} */
  seen = { sums: [] }

  constructor(device) {
    this.device = device
  }

  begin() {
    this.seen = { sums: [] }
  }

  get objective() {
    return {
      ...runObjective(sft()),
      loss: async (model, batch, options) => {
        const part = await sft().loss(model, batch, options)
        this.#note('forward')
        const { loss } = part
        const backward = async (how) => {
          await loss.backward(how)
          this.#note('backward')
        }
        return { ...part, loss: { item: () => loss.item(), dispose: () => loss.dispose(), backward } }
      },
    }
  }

  /** The same ranks, watched. */
  ranks(ranks) {
    const { rank, size } = ranks
    return {
      rank,
      size,
      gather: (bytes) => ranks.gather(bytes),
      broadcast: (bytes, from) => ranks.broadcast(bytes, from),
      barrier: () => ranks.barrier(),
      abort: (reason) => ranks.abort(reason),
      sumGradients: (gradients) => this.#sum(ranks, gradients),
    }
  }

  async #sum(ranks, gradients) {
    const sum = { bytes: 0, ready: 0, end: 0 }
    this.seen.sums.push(sum)
    const watched = (gradient) => ({
      shape: gradient.shape,
      data: async () => {
        const values = await gradient.data()
        sum.bytes += values.byteLength
        sum.ready = now()
        return values
      },
      assign: (values) => {
        sum.end ||= now()
        gradient.assign(values)
      },
    })
    await ranks.sumGradients(gradients.map(watched))
  }

  /** The time at which all work that is enqueued now is done. */
  #note(what) {
    const { seen } = this
    void this.device.synchronize().then(() => {
      seen[what] = now()
    })
  }
}
