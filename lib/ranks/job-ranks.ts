import { hostname } from 'node:os'
import { aText, check } from '../common/arguments.js'
import { MoraError, RunError, UsageError } from '../common/errors.js'
import { type NativeDevice, type NativeRanks, native } from '../native/addon.js'
import { gatherJson, type Ranks, sumOverRanks, type WritableValues } from '../tensor/ranks.js'
import type { ShardRanks, SharedParts } from '../tensor/shards.js'
import { Tensor } from '../tensor/tensor.js'

/** The ranks of this process's job; `close` them at the end. */
export interface JobRanks extends Ranks, ShardRanks {
  /** Number among the ranks of this machine, from 0: it selects the rank's GPU. */
  readonly localRank: number
  /** Number of ranks on this machine. */
  readonly localSize: number
  /**
   * CPU threads for `loadModel` on this rank: its share of the processors that it may use together with other ranks of this
   * machine; 0, which means all of them, if it shares them with none because the launcher has bound each rank to its own.
   */
  readonly threads: number
  /** Sums each of a few values over all ranks, in the order of ranks, so that all get the same bits. */
  sum(values: Float64Array): Promise<Float64Array>
  /**
   * Returns the device of this rank for `openDevice` and `loadModel` if all ranks have the same option: for `auto` (the
   * default) and `cuda`, the visible GPU with the rank's number among the ranks of its machine. A launcher
   * may also show each rank a single GPU. Every rank calls this.
   * @throws UsageError `shared-gpu`, on all ranks, if two of them would have the same GPU
   */
  deviceFor(device?: string): Promise<string>
  /**
   * Resolves when every rank has closed. A process that ends before that, or with an exit code other than 0, ends the whole job
   * with exit code 1; the first rank that has not failed first has some time to save its state.
   */
  close(): Promise<void>
}

/** Ranks that are processes. */
export class ConnectedRanks implements JobRanks {
  readonly rank: number
  readonly size: number
  /** The library that connects them, with its version. */
  readonly library: string
  readonly host = hostname()
  /** Connections by kind of device: GPUs once all ranks have used one; the processes' memory always. */
  readonly #connections = new Map<string, Connection>([['cpu', { why: null }]])
  #connecting: Promise<Connection> | null = null
  #hasWarned = false
  /** The last sum that uses this process's own memory. */
  #onHost: Promise<void> = Promise.resolve()
  readonly #native: NativeRanks

  constructor(
    native: NativeRanks,
    /** Number among the ranks of this machine. */
    readonly localRank: number,
    readonly localSize: number,
    readonly threads: number,
  ) {
    this.#native = native
    this.rank = native.rank
    this.size = native.size
    this.library = native.library
  }

  async sum(values: Float64Array): Promise<Float64Array> {
    const all = await this.gather(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    if (all.some(({ length }) => length !== values.byteLength))
      throw new RunError('ranks-differ', 'The ranks diverge: each has to sum the same number of values.')
    return sumOverRanks(all, values.length)
  }

  async sumGradients(gradients: readonly WritableValues[]): Promise<void> {
    const tensors = onOneDevice(gradients)
    if (tensors) {
      const [{ device }] = tensors
      // A known connection is used at once, so that all ranks begin their common operations in the order of their calls.
      const connection = this.#connections.get(device.kind) ?? (await this.#connect(device))
      this.#connections.set(device.kind, connection)
      if (connection.why === null) return failing(this.#native.sumOnDevice(tensors.map((tensor) => tensor.native)))
      this.#warn(connection.why)
    }
    this.#onHost = this.#onHost.then(() => this.#sumOnHost(gradients))
    return this.#onHost
  }

  async #sumOnHost(gradients: readonly WritableValues[]): Promise<void> {
    const lists = await Promise.all(gradients.map((gradient) => gradient.data() as Promise<Float32Array>))
    const flat = new Float32Array(lists.reduce((sum, { length }) => sum + length, 0))
    let start = 0
    for (const list of lists) {
      flat.set(list, start)
      start += list.length
    }
    await failing(this.#native.sum(flat))
    start = 0
    for (const [i, { length }] of lists.entries()) {
      gradients[i]!.assign(flat.subarray(start, start + length))
      start += length
    }
  }

  /** Connects the GPUs by NCCL, once. The first caller continues first, and then marks the connection as known. */
  #connect(device: NativeDevice): Promise<Connection> {
    for (const [name, value] of Object.entries(surroundings)) process.env[name] ??= value
    this.#connecting ??= failing(this.#native.connectDevice(device)).then((why) => ({ why }))
    return this.#connecting
  }

  #warn(why: string): void {
    if (this.#hasWarned || this.rank > 0) return
    this.#hasWarned = true
    process.emitWarning(`Without NCCL, gradients go between GPUs through the CPUs, which takes longer: ${why}.`, {
      type: 'MoraWarning',
      code: 'nccl-unused',
    })
  }

  async barrier(): Promise<void> {
    await this.gather(new Uint8Array(0))
  }

  broadcast(bytes: Uint8Array, from = 0): Promise<Uint8Array> {
    return failing(this.#native.broadcast(bytes, from))
  }

  gather(bytes: Uint8Array): Promise<Uint8Array[]> {
    return failing(this.#native.gather(bytes))
  }

  async share(parts: readonly Tensor[]): Promise<SharedParts> {
    const device = parts[0]?.device
    if (device) {
      const connection = this.#connections.get(device.kind) ?? (await this.#connect(device))
      this.#connections.set(device.kind, connection)
      if (connection.why !== null) {
        throw new RunError('no-nccl', `Ranks hold weights together on GPUs that NCCL connects, but ${connection.why}.`)
      }
    }
    return {
      gather: (index, all) => {
        const { wait, done } = this.#native.gatherInto(parts[index]!.native, all.native)
        return { wait, done: failing(done) }
      },
    }
  }

  async deviceFor(device = 'auto'): Promise<string> {
    check({ device }, { device: aText })
    return deviceOfRank(device, this)
  }

  abort(reason: string): void {
    this.#native.abort(reason)
  }

  close(): Promise<void> {
    return failing(this.#native.close())
  }
}

/** Why devices are not connected; null if they are. */
interface Connection {
  readonly why: string | null
}

/** Switches may sum in any order; with rings and trees of GPUs, the same ranks give the same bits. */
const surroundings = { NCCL_ALGO: 'Ring,Tree' }

interface GpuOfRank {
  id: string
  machine: string
  /** Number of GPUs that the rank sees. */
  gpus: number
}

/** Returns the device of this rank, see `JobRanks.deviceFor`. */
async function deviceOfRank(device: string, ranks: JobRanks): Promise<string> {
  const index = gpuOf(device, ranks.localRank)
  let own: GpuOfRank | null = null
  let failure: unknown
  try {
    if (index !== null) own = gpuOfRank(index)
  } catch (error) {
    failure = error // the others wait for this rank's answer
  }
  const all = await gatherJson(ranks, own)
  if (failure) throw failure
  requireOneEach(all)
  return index === null ? device : `cuda:${index}`
}

/** Returns the GPU; null if the rank computes on the CPU, or if loading a model will report the error. */
function gpuOf(device: string, localRank: number): number | null {
  const [, kind, index] = /^(auto|cuda)(?::(\d+))?$/.exec(device) ?? []
  const count = kind === undefined ? 0 : native.deviceCount('cuda')
  if (index !== undefined) return Number(index) < count ? Number(index) : null
  return count === 0 ? null : localRank % count
}

function gpuOfRank(index: number): GpuOfRank {
  const { id } = native.openDevice('cuda', index, 0).facts()
  return { id, machine: hostname(), gpus: native.deviceCount('cuda') }
}

function requireOneEach(all: readonly (GpuOfRank | null)[]): void {
  for (const [rank, own] of all.entries()) {
    const first = all.findIndex((other) => own !== null && other?.id === own.id)
    if (own === null || first === rank) continue
    const { machine, gpus, id } = own
    throw new UsageError(
      'shared-gpu',
      `Ranks ${first} and ${rank} would share the GPU ${id}, but each needs one of its own, and of ${machine} they see ` +
        `${gpus}: start no more ranks on a machine than it has GPUs, or give them the device cpu.`,
    )
  }
}

/** Returns the gradients if there are any and all are tensors on the same device; null otherwise. */
function onOneDevice(gradients: readonly WritableValues[]): readonly [Tensor, ...Tensor[]] | null {
  const [first] = gradients
  if (!(first instanceof Tensor)) return null
  const { kind, index } = first.device
  const isBeside = ({ device }: Tensor) => device.kind === kind && device.index === index
  const tensors = gradients.filter((one) => one instanceof Tensor)
  if (tensors.length < gradients.length || !tensors.every(isBeside)) return null
  return tensors as [Tensor, ...Tensor[]]
}

async function failing<Value>(call: Promise<Value>): Promise<Value> {
  try {
    return await call
  } catch (error) {
    if (!(error instanceof MoraError)) throw error
    throw new RunError(error.code, error.message, { cause: error })
  }
}
