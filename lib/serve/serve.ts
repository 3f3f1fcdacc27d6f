/** A model as an endpoint with OpenAI's routes. */
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { z } from 'zod'
import {
  aFlag,
  aFunction,
  aText,
  badValue,
  check,
  expecting,
  having,
  listOfTexts,
  optionsSchema,
} from '../common/arguments.js'
import { quoted, UsageError } from '../common/errors.js'
import { TextEngine } from '../generate/index.js'
import type { ProgramGrader } from '../graders/grade.js'
import { hubIdOf } from '../hub/index.js'
import { Jobs } from '../jobs/index.js'
import type { Model } from '../models/index.js'
import { parseOptions, type ServeInput, ServeSchema } from '../options/index.js'
import { ActiveRequests } from './active-requests.js'
import { answerOwn, BATCH_ENDPOINTS, serverApp } from './app.js'
import { ServerMetrics } from './metrics.js'
import { type ServedAdapterOptions, ServedAdapters } from './served-adapters.js'
import type { Serving } from './serving.js'
import { StoredItems } from './stored-items.js'

/** Options of `serve`: the options of `mora serve` in camelCase, keys, a path and a callback. */
export interface ServeOptions extends ServeInput {
  /** Accepted API keys, or keys by the names of clients, who then see only their own files and jobs. Default: clients need no key. */
  apiKeys?: readonly string[] | Readonly<Record<string, string>>
  /**
   * Names of the model's adapters to serve, beside adapters that the server's `loadAdapter` loads; `[]`: none. Default: all, adapters that
   * the program adds later included, except adapters that a run trains.
   */
  adapters?: readonly string[]
  /** Prefix of `/v1`, `/health` and the other paths, such as `/llm`. Default: none. */
  basePath?: string
  /** Whether to serve a page to try the models in a browser, at `/` below `basePath`. It needs no key, its requests do. Default: false. */
  page?: boolean
  /** Lets clients upload files and train adapters of the model by OpenAI's fine-tuning jobs. Default: they cannot. */
  jobs?: {
    /** The folder of files, jobs and tuned models, which one server uses at a time. */
    folder: string
    /** Graders of the program's own, for graders of clients of the type `program`: functions by name. Default: none. */
    graders?: Readonly<Record<string, ProgramGrader>>
  }
  /** Called with each internal failure. Default: it is printed on stderr. */
  onError?: (error: unknown) => void
}

/** A model as an endpoint: what `serve` returns. */
export interface ModelServer extends AsyncDisposable {
  /** Handles a request. It needs no `this`, so it can be passed on as a handler of any framework. */
  readonly fetch: (request: Request) => Promise<Response>
  /**
   * Loads an adapter under a name that clients give as `model`, while requests are running: a folder, the output folder of a run
   * (its newest checkpoint, or its final adapter), or a hub id. With `replace`, it replaces an adapter of that name: running texts
   * end with the former one, which stays in the model if the program has added it. The model has the new adapter under the same name,
   * unless the program has an adapter of that name. A run may train other adapters meanwhile.
   *
   * @throws UsageError `adapter-exists` for a name that is taken, `in-training` if a run trains the adapter to replace; what
   * `Model.loadAdapter` throws
   */
  loadAdapter(name: string, adapter: string, options?: ServedAdapterOptions): Promise<void>
  /**
   * Drops an adapter. Running texts end with it. An adapter that the program has added stays in the model.
   * @throws UsageError `unknown-adapter`, `in-training` if a run trains an adapter that was loaded here
   */
  unloadAdapter(name: string): Promise<void>
  /** Refuses further requests, waits at most `grace` seconds for running ones, then cancels them and frees the memory. */
  close(): Promise<void>
}

const serveArguments = {
  model: having('a model (loadModel gives one)', 'createMemory', 'withAdapters', 'adapters', 'loadAdapter'),
  options: optionsSchema('the options of serve', {
    apiKeys: expecting(
      'a list of keys, or keys by names of letters, digits, dots, hyphens and underscores',
      z.union([z.array(aText), z.record(z.string().regex(/^[\w.-]{1,64}$/), aText)]),
    ).optional(),
    adapters: listOfTexts.optional(),
    basePath: expecting('a path that begins with /', z.string().startsWith('/')).optional(),
    page: aFlag.optional(),
    jobs: optionsSchema('the option jobs', {
      folder: aText,
      graders: expecting('functions by name', z.record(z.string(), aFunction)).optional(),
    }).optional(),
    onError: aFunction.optional(),
  }),
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

const MOST_BYTES = 8 * 2 ** 20

/**
 * Serves a model and its adapters by OpenAI's API, in this process. The result's `fetch` answers requests, so it sits in any
 * framework. Each adapter is a model with its name, except adapters that a run trains (the option `adapters`).
 *
 * ```ts
 * import { loadModel, serve } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await using server = serve(model, { name: 'smollm' })
 * const body = JSON.stringify({ model: 'smollm', messages: [{ role: 'user', content: 'Hello!' }], max_tokens: 8 })
 * const headers = { 'content-type': 'application/json' }
 * const answer = await server.fetch(new Request('http://here/v1/chat/completions', { method: 'POST', headers, body }))
 * console.log(await answer.json())
 * ```
 *
 * @throws UsageError for options that are wrong; `unknown-adapter` for a name that the model does not have
 */
export function serve(model: Model, options: ServeOptions = {}): ModelServer {
  check({ model, options }, serveArguments)
  const {
    apiKeys = [],
    adapters,
    basePath = '/',
    page = false,
    jobs: jobOptions,
    onError = console.error,
    ...given
  } = options
  const settings = parseOptions(ServeSchema, given)
  if (settings.template !== 'auto' && !existsSync(settings.template)) {
    throw badValue('template', 'auto or the path of a file', settings.template)
  }
  for (const name of adapters ?? []) requireAdapter(model, name)
  const { name = servedName(model.reference), maxBatch, maxQueue, maxBody = MOST_BYTES } = settings
  const { template, maxTokens, timeout, grace, allowLoading } = settings
  const engine = new TextEngine(model, { sequences: maxBatch, longSequences: maxBatch - Math.floor(maxBatch / 4) })
  const metrics = new ServerMetrics()
  const served = new ServedAdapters(model, engine, {
    baseName: name,
    chosen: adapters,
    mayUse: (model, client) => jobs?.mayUse(model, client) ?? true,
    onError,
  })
  const requests = new ActiveRequests(served, metrics, { texts: maxBatch + maxQueue, timeout })
  const jobs: Jobs | undefined =
    jobOptions &&
    Jobs.open(jobOptions.folder, {
      model,
      baseName: name,
      template,
      serve: (name, folder) => served.offer(name, folder),
      drop: (name) => served.withdraw(name),
      load: (name, folder) => served.loadHidden(name, folder),
      discard: (adapter) => served.discard(adapter),
      answer: (path, body, client, signal) => answerOwn(path, body, client, { serving, signal }),
      graders: jobOptions.graders ?? {},
      endpoints: BATCH_ENDPOINTS,
      batchRequests: Math.max(1, Math.floor(maxBatch / 2)),
      requireModel: (name, client) => served.require(name, client),
      onError,
    })
  const serving: Serving = {
    model,
    engine,
    adapters: served,
    requests,
    metrics,
    items: new StoredItems(),
    template,
    maxTokens,
    maxBodyBytes: maxBody,
    allowLoading,
    jobs,
    onError,
  }
  const app = serverApp(serving, { basePath, apiKeys, page })
  let closed: Promise<void> | undefined
  const close = () => {
    closed ??= Promise.all([requests.close(grace), jobs?.close()]).then(() => engine.close())
    return closed
  }
  return {
    fetch: async (request) => {
      check({ request }, serverArguments.fetch)
      await jobs?.ready
      return app.fetch(request)
    },
    loadAdapter: async (name, adapter, options = {}) => {
      check({ name, adapter, options }, serverArguments.load)
      return served.load(name, adapter, options)
    },
    unloadAdapter: async (name) => {
      check({ name }, serverArguments.unload)
      return served.unload(name)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function requireAdapter({ adapters }: Pick<Model, 'adapters'>, name: string): void {
  if (adapters.has(name)) return
  const known = [...adapters.keys()].map((one) => quoted(one)).join(', ') || 'none'
  throw new UsageError(
    'unknown-adapter',
    `The option adapters names ${quoted(name)}, which the model does not have; it has: ${known}. Add it first, or load it with loadAdapter of the server.`,
  )
}

/** Returns the name of a model for clients: `owner/name` of the hub, or the name of its file or folder. */
function servedName(reference: string): string {
  if (reference === '') return 'model'
  return hubIdOf(reference)?.repository ?? basename(reference.replace(/^ollama:/, '')).replace(/\.gguf$/i, '')
}
