/** Adapters as model names: loaded, replaced and dropped while texts are written. */
import { quoted, UsageError } from '../common/errors.js'
import { taskLimit } from '../common/task-limit.js'
import type { LanguageModel } from '../generate/index.js'
import { locate } from '../hub/index.js'
import { newestAdapter } from './newest-adapter.js'
import type { TextWriter } from './text-writer.js'

/** The part of a model that its adapters need. */
export interface ServedModel extends LanguageModel {
  readonly adapters: ReadonlyMap<string, unknown>
  loadAdapter(adapter: string, name: string): Promise<unknown>
  removeAdapter(name: string): void
  setActiveAdapters(names: readonly string[]): void
}

/** The adapters of one request: they stay in the model until it is over. */
export interface UsedAdapters {
  /** The name that the request asked for. */
  readonly model: string
  readonly adapters: readonly string[]
  release(): void
}

/**
 * The names that a server answers to: the base and its adapters, those included that the program adds to the model itself. An adapter
 * that is replaced or dropped leaves the model when the last text with it is written, so a text has one set of weights.
 */
export class ServedAdapters {
  /** Adapters in the model that the server has loaded, by the names that they are served under. */
  readonly #loaded = new Map<string, string>()
  /** Adapters in the model that are not served simply because they are there. */
  readonly #hidden = new Set<string>()
  readonly #users = new Map<string, number>()
  readonly #inTurn = taskLimit(1)

  constructor(
    readonly baseName: string,
    readonly model: ServedModel,
    readonly writer: Pick<TextWriter, 'exclusive'>,
    readonly onError: (error: unknown) => void,
  ) {}

  /** Names of the adapters. */
  get names(): string[] {
    const own = [...this.model.adapters.keys()].filter((name) => !this.#hidden.has(name) && name !== this.baseName)
    return [...new Set([...own, ...this.#loaded.keys()])].sort()
  }

  /** @throws UsageError `unknown-adapter` */
  require(model: string): void {
    if (model !== this.baseName) this.#require(model)
  }

  /** @throws UsageError `unknown-adapter` */
  use(model = this.baseName): UsedAdapters {
    if (model === this.baseName) return { model, adapters: [], release: () => {} }
    const adapter = this.#require(model)
    this.#users.set(adapter, (this.#users.get(adapter) ?? 0) + 1)
    return { model, adapters: [adapter], release: () => this.#release(adapter) }
  }

  /**
   * Loads an adapter: a folder, the output folder of a run, or a hub id.
   * @throws UsageError `adapter-exists`, unless it may `replace` that adapter; what `Model.loadAdapter` throws
   */
  load(name: string, source: string, { replace = false } = {}): Promise<void> {
    return this.#inTurn(async () => {
      const former = this.#adapterOf(name)
      if (name === this.baseName || (former !== undefined && !replace)) {
        throw new UsageError(
          'adapter-exists',
          `The name ${quoted(name)} is taken; choose another, or replace the adapter.`,
        )
      }
      const { path } = await locate(await newestAdapter(source), 'adapter')
      const adapter = this.#freeName(name)
      this.#hidden.add(adapter)
      try {
        await this.writer.exclusive(() => this.#add(path, adapter))
      } catch (error) {
        this.#hidden.delete(adapter)
        throw error
      }
      this.#loaded.set(name, adapter)
      if (former !== undefined) await this.#retire(former)
    })
  }

  /** @throws UsageError `unknown-adapter` */
  unload(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const adapter = this.#require(name)
      this.#loaded.delete(name)
      await this.#retire(adapter)
    })
  }

  /** Which adapters are active in the model does not change. */
  async #add(path: string, adapter: string): Promise<void> {
    const active = this.model.adapterSet.activeNames()
    await this.model.loadAdapter(path, adapter)
    this.model.setActiveAdapters(active)
  }

  #adapterOf(name: string): string | undefined {
    const loaded = this.#loaded.get(name)
    if (loaded !== undefined) return loaded
    return this.model.adapters.has(name) && !this.#hidden.has(name) ? name : undefined
  }

  #require(name: string): string {
    const adapter = this.#adapterOf(name)
    if (adapter !== undefined) return adapter
    const known = [this.baseName, ...this.names].map((one) => quoted(one)).join(', ')
    throw new UsageError('unknown-adapter', `The model ${quoted(name)} does not exist; known are ${known}.`)
  }

  #freeName(name: string): string {
    let free = name
    for (let version = 2; this.model.adapters.has(free) || this.#hidden.has(free); version++)
      free = `${name}@${version}`
    return free
  }

  async #retire(adapter: string): Promise<void> {
    this.#hidden.add(adapter)
    if (!this.#users.has(adapter)) await this.#remove(adapter)
  }

  #release(adapter: string): void {
    const left = this.#users.get(adapter)! - 1
    if (left > 0) {
      this.#users.set(adapter, left)
      return
    }
    this.#users.delete(adapter)
    const isServed = [...this.#loaded.values()].includes(adapter) || !this.#hidden.has(adapter)
    if (!isServed) this.#remove(adapter).catch(this.onError)
  }

  async #remove(adapter: string): Promise<void> {
    try {
      await this.writer.exclusive(async () => this.model.removeAdapter(adapter))
    } finally {
      this.#hidden.delete(adapter)
    }
  }
}
