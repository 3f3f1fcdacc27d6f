/** Serves what a writer writes. */
import { basename } from 'node:path'
import { aFlag, aText, check, expecting, having, optionsSchema } from '../common/arguments.js'
import { hubIdOf } from '../hub/index.js'
import { serverApp } from './app.js'
import { ServerMetrics } from './metrics.js'
import { type ServedAdapterOptions, ServedAdapters, type ServedModel } from './served-adapters.js'
import type { TextWriter } from './text-writer.js'
import { Visits } from './visits.js'

/** Limits and names of a server, all of them given. */
export interface ServerSettings {
  name: string
  apiKeys: readonly string[]
  maxBatch: number
  maxQueue: number
  maxBodyBytes: number
  timeout: number
  grace: number
  allowLoading: boolean
  template: string
  maxTokens?: number | undefined
  /** Which of the program's adapters clients may ask; undefined: those that no run trains. */
  adapters?: readonly string[] | undefined
  basePath: string
  onError: (error: unknown) => void
}

/** A model as an endpoint: what `serve` returns. */
export interface ModelServer extends AsyncDisposable {
  /** Answers a request. It needs no `this`, so it can be passed on as a handler of any framework. */
  readonly fetch: (request: Request) => Promise<Response>
  /**
   * Loads an adapter under a name that clients give as `model`, while requests are answered: a folder, the output folder of a run
   * (its newest checkpoint, or its final adapter), or a hub id. With `replace`, an adapter of that name makes room: running texts
   * are written to their end with the former one, and one that the program has added stays in the model. The model knows the new one
   * by the same name, unless the program has an adapter of that name. A run may train other adapters meanwhile.
   *
   * @throws UsageError `adapter-exists` for a name that is taken, `in-training` if a run trains the adapter that would make room; what
   * `Model.loadAdapter` throws
   */
  loadAdapter(name: string, adapter: string, options?: ServedAdapterOptions): Promise<void>
  /**
   * Drops an adapter. Running texts are written to their end with it. One that the program has added stays in the model.
   * @throws UsageError `unknown-adapter`, `in-training` if a run trains an adapter that was loaded here
   */
  unloadAdapter(name: string): Promise<void>
  /** Refuses further requests, waits for those that run, at most `grace` seconds, then ends them and frees the writer. */
  close(): Promise<void>
}

const serverArguments = {
  fetch: { request: having('a Request', 'method', 'url', 'headers') },
  load: {
    name: aText,
    adapter: expecting('the path or hub id of an adapter', aText),
    options: optionsSchema('the options of loadAdapter', {
      replace: aFlag.optional(),
      allowOtherBase: aFlag.optional(),
    }),
  },
  unload: { name: aText },
}

/** Serves a writer's model. */
export function serveTexts(writer: TextWriter, model: ServedModel, settings: ServerSettings): ModelServer {
  const {
    name,
    apiKeys,
    maxBatch,
    maxQueue,
    maxBodyBytes,
    timeout,
    allowLoading,
    template,
    maxTokens,
    basePath,
    onError,
  } = settings
  const metrics = new ServerMetrics()
  const adapters = new ServedAdapters(model, writer, { baseName: name, chosen: settings.adapters, onError })
  const visits = new Visits(adapters, metrics, { texts: maxBatch + maxQueue, timeout })
  const app = serverApp(
    { writer, adapters, visits, metrics, template, maxTokens, maxBodyBytes, allowLoading, onError },
    { basePath, apiKeys },
  )
  let closed: Promise<void> | undefined
  const close = () => {
    closed ??= visits.close(settings.grace).then(() => writer.close())
    return closed
  }
  return {
    fetch: async (request) => {
      check({ request }, serverArguments.fetch)
      return app.fetch(request)
    },
    loadAdapter: async (name, adapter, options = {}) => {
      check({ name, adapter, options }, serverArguments.load)
      return adapters.load(name, adapter, options)
    },
    unloadAdapter: async (name) => {
      check({ name }, serverArguments.unload)
      return adapters.unload(name)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Returns the name of a model for clients: `owner/name` of the hub, or the name of its file or folder. */
export function servedName(reference: string): string {
  if (reference === '') return 'model'
  return hubIdOf(reference)?.repository ?? basename(reference.replace(/^ollama:/, '')).replace(/\.gguf$/i, '')
}
