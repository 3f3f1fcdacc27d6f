/** Adapters as model names: loaded, replaced and dropped while texts are generated. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { quoted, reworded, UsageError } from '../common/errors.js'
import { taskLimit } from '../common/task-limit.js'
import type { TextEngine } from '../generate/index.js'
import { locate } from '../hub/index.js'
import type { Model } from '../models/index.js'
import { newestIntactCheckpoint } from '../train/index.js'

/** Options of `loadAdapter` of a server. */
export interface ServedAdapterOptions {
  /** Whether to replace an adapter of the same name. Default false. */
  replace?: boolean
  /** Also load an adapter that was trained on another base. Default false. */
  allowOtherBase?: boolean
}

/** Maximum number of offered adapters in memory. */
const MOST_OFFERED = 16

interface ServedSettings {
  readonly baseName: string
  /** The program's adapters to serve; undefined: all that no run trains. */
  readonly chosen?: readonly string[] | undefined
  /** Whether a client, by the name of its key, may use a name: models of jobs belong to their clients. Default: all may. */
  readonly mayUse?: (name: string, client: string | null) => boolean
  readonly onError: (error: unknown) => void
}

/**
 * The names that a server answers to: the base, adapters that it has loaded, and adapters of the program. An adapter that it loads has
 * a name of its own in the model, such as `support@2`, and the name that it is served by is an alias, unless the program has an
 * adapter of that name. A replaced or dropped adapter leaves the model after the last text with it, so a text has one set of weights.
 */
export class ServedAdapters {
  readonly baseName: string
  /** Names in the model of adapters that the server has loaded, by the names that they are served under. */
  readonly #loaded = new Map<string, string>()
  /** Names in the model of every adapter that the server has put there, retired ones included. */
  readonly #own = new Set<string>()
  /** Names that are an alias in the model. */
  readonly #aliases = new Set<string>()
  /** The program's adapters that were dropped or replaced: they stay in the model and are not served. */
  readonly #dropped = new Set<string>()
  /** Folders of adapters that are loaded when they are asked for, by the names that they are served under. */
  readonly #offered = new Map<string, string>()
  /** Loads of these that have begun, the least recently asked for first. */
  readonly #recent = new Map<string, Promise<void>>()
  readonly #users = new Map<string, number>()
  readonly #queue = taskLimit(1)

  constructor(
    readonly model: Model,
    readonly engine: TextEngine,
    readonly settings: ServedSettings,
  ) {
    this.baseName = settings.baseName
  }

  /** Names of the adapters. */
  get names(): string[] {
    const names = new Set([...this.model.adapters.keys(), ...this.#loaded.keys()])
    const present = [...names].filter((name) => this.#adapterOf(name) !== undefined && !this.#offered.has(name))
    return [...present, ...this.#offered.keys()].sort()
  }

  /** Names of the adapters that a client may use. */
  namesFor(client: string | null): string[] {
    return this.names.filter((name) => this.#isFor(name, client))
  }

  /** Whether an adapter is served, and a client may use it. */
  #isFor(name: string, client: string | null): boolean {
    return this.has(name) && (this.settings.mayUse?.(name, client) ?? true)
  }

  /** Whether an adapter is served under a name. */
  has(name: string): boolean {
    return this.#offered.has(name) || this.#adapterOf(name) !== undefined
  }

  /** @throws UsageError `unknown-adapter` */
  require(model: string, client: string | null): void {
    if (model !== this.baseName && !this.#isFor(model, client)) throw this.#unknown(model, this.namesFor(client))
  }

  /**
   * Returns the model's name and the adapters of a request, which stay in the model until they are released. An empty name is the base's.
   * @throws UsageError `unknown-adapter`
   */
  use(
    model: string | undefined,
    client: string | null,
  ): { readonly model: string; readonly adapters: readonly string[]; release(): void } {
    if (!model || model === this.baseName) return { model: this.baseName, adapters: [], release: () => {} }
    this.require(model, client)
    const adapter = this.#require(model)
    this.#users.set(adapter, (this.#users.get(adapter) ?? 0) + 1)
    return { model, adapters: [adapter], release: () => this.#release(adapter) }
  }

  /**
   * Loads an adapter: a folder, the output folder of a run, or a hub id.
   * @throws UsageError `adapter-exists`, unless it may `replace` that adapter; `in-training` if a run trains it; what
   * `Model.loadAdapter` throws
   */
  async load(name: string, source: string, options: ServedAdapterOptions = {}): Promise<void> {
    this.#requireFree(name, options)
    // Outside the queue: a hub that does not answer makes no other adapter wait.
    const { path } = await locate(await newestAdapter(source), 'adapter')
    if (!existsSync(path)) throw new UsageError('not-an-adapter', `There is no adapter at the path ${quoted(path)}.`)
    await this.#queue(() => this.#load(name, path, options))
  }

  async #load(name: string, path: string, options: ServedAdapterOptions): Promise<void> {
    const former = this.#requireFree(name, options)
    const adapter = this.#freeName(name)
    this.#own.add(adapter)
    try {
      // While texts are generated: an adapter that no text uses changes no pass.
      await this.model.loadAdapter(path, adapter, { active: false, allowOtherBase: options.allowOtherBase })
    } catch (error) {
      this.#own.delete(adapter)
      throw error
    }
    this.#loaded.set(name, adapter)
    if (former === name) this.#dropped.add(name)
    if (this.#aliases.has(name) || !this.model.adapters.has(name)) {
      this.#aliases.add(name)
      this.model.adapterSet.alias(name, adapter)
    }
    if (former !== undefined) await this.#retire(former)
  }

  /**
   * Drops an adapter. One that the program has added to the model stays there.
   * @throws UsageError `unknown-adapter`, `bad-value` for the base, `in-training` if a run trains an adapter that was loaded here
   */
  unload(name: string): Promise<void> {
    return this.#queue(async () => {
      if (name === this.baseName) {
        throw new UsageError(
          'bad-value',
          `The model ${quoted(name)} is the base, which stays; only adapters are dropped.`,
        )
      }
      const adapter = this.#require(name)
      this.#requireIdle(name, adapter)
      if (!this.#loaded.delete(name)) this.#dropped.add(name)
      else if (this.#aliases.delete(name)) this.model.adapterSet.alias(name, null)
      await this.#retire(adapter)
    })
  }

  /** Serves the adapter in a folder, which is loaded when it is first asked for. */
  offer(name: string, folder: string): void {
    this.#offered.set(name, folder)
  }

  /** Drops an offered adapter; running texts end with it. */
  async withdraw(name: string): Promise<void> {
    if (this.#offered.delete(name)) await this.#forget(name)
  }

  /**
   * Loads an offered adapter of which a request has the name, unless it is loaded. Of these, the 16 asked for last stay in memory.
   * @throws what `load` throws
   */
  async loadFor(name: string | undefined, client: string | null): Promise<void> {
    const folder = name && this.#offered.get(name)
    if (!folder || !this.#isFor(name, client)) return
    const loading = this.#recent.get(name) ?? this.#loadOffered(name, folder)
    this.#recent.delete(name)
    this.#recent.set(name, loading)
    await loading
  }

  async #loadOffered(name: string, folder: string): Promise<void> {
    try {
      for (const oldest of [...this.#recent.keys()].slice(0, 1 - MOST_OFFERED)) await this.#forget(oldest)
      await this.load(name, folder, { replace: true })
    } catch (error) {
      this.#recent.delete(name)
      // Clients see no folders of the server.
      throw reworded(error, (message) => message.replaceAll(folder, name))
    }
  }

  /** Unloads an offered adapter, if it is loaded. */
  async #forget(name: string): Promise<void> {
    const loading = this.#recent.get(name)
    this.#recent.delete(name)
    await loading?.catch(() => {})
    if (this.#loaded.has(name)) await this.unload(name)
  }

  /** Loads the adapter in a folder into the model under a name by which no client can ask for it. */
  async loadHidden(name: string, folder: string): Promise<void> {
    this.#own.add(name)
    await this.model.loadAdapter(folder, name, { active: false })
  }

  /** Removes an adapter of the model that a job has trained; from now on it is not public. */
  discard(adapter: string): Promise<void> {
    this.#own.add(adapter)
    return this.#remove(adapter)
  }

  /** Returns the adapter to replace, if any. */
  #requireFree(name: string, { replace = false }: ServedAdapterOptions): string | undefined {
    const former = this.#adapterOf(name)
    if (name === this.baseName || (former !== undefined && !replace)) {
      throw new UsageError(
        'adapter-exists',
        `The name ${quoted(name)} is taken; choose another, or replace the adapter.`,
      )
    }
    if (former !== undefined) this.#requireIdle(name, former)
    return former
  }

  /** @throws UsageError `in-training`; an adapter of the program stays in the model, so a run may continue with it */
  #requireIdle(name: string, adapter: string): void {
    if (!this.#own.has(adapter) || !this.model.adapterSet.isInTraining(adapter)) return
    throw new UsageError('in-training', `A run trains the adapter ${quoted(name)}: wait for its end, or stop it.`)
  }

  #adapterOf(name: string): string | undefined {
    return this.#loaded.get(name) ?? (this.#isPublic(name) ? name : undefined)
  }

  /** Whether an adapter of the program is served. */
  #isPublic(name: string): boolean {
    const { model, settings } = this
    if (name === this.baseName || this.#own.has(name) || this.#dropped.has(name) || !model.adapters.has(name))
      return false
    return settings.chosen ? settings.chosen.includes(name) : !model.adapterSet.isInTraining(name)
  }

  #require(name: string): string {
    const adapter = this.#adapterOf(name)
    if (adapter !== undefined) return adapter
    throw this.#unknown(name, this.names)
  }

  #unknown(name: string, names: readonly string[]): UsageError {
    const known = [this.baseName, ...names].map((one) => quoted(one)).join(', ')
    return new UsageError('unknown-adapter', `The model ${quoted(name)} does not exist; known are ${known}.`)
  }

  #freeName(name: string): string {
    let version = 1
    while (this.model.adapters.has(`${name}@${version}`) || this.#own.has(`${name}@${version}`)) version++
    return `${name}@${version}`
  }

  async #retire(adapter: string): Promise<void> {
    if (!this.#users.has(adapter)) await this.#remove(adapter)
  }

  #release(adapter: string): void {
    const users = this.#users.get(adapter)! - 1
    if (users > 0) {
      this.#users.set(adapter, users)
      return
    }
    this.#users.delete(adapter)
    const isServed = [...this.#loaded.values()].includes(adapter)
    if (!isServed) this.#remove(adapter).catch(this.settings.onError)
  }

  /** Removes an adapter that the server has loaded, between two steps of the engine. */
  async #remove(adapter: string): Promise<void> {
    if (!this.#own.has(adapter)) return
    await this.engine.exclusive(async () => this.model.removeAdapter(adapter))
    this.#own.delete(adapter)
  }
}

const ADAPTER = 'adapter_config.json'

/** Returns the newest adapter of a run's output folder, final or in a checkpoint; any other path as it is. */
export async function newestAdapter(path: string): Promise<string> {
  const checkpoints = join(path, 'checkpoints')
  if (!existsSync(checkpoints)) return path
  const newest = await newestIntactCheckpoint(checkpoints, () => {})
  if (newest === null) return path
  const changedAt = (folder: string) => statSync(join(folder, ADAPTER), { throwIfNoEntry: false })?.mtimeMs ?? 0
  return changedAt(newest) > changedAt(path) ? newest : path
}
