/** A model as an endpoint with OpenAI's routes. */
import { existsSync } from 'node:fs'
import { z } from 'zod'
import {
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
import type { Model } from '../models/index.js'
import { parseOptions, type ServeInput, ServeSchema } from '../options/index.js'
import { type ModelServer, servedName, serveTexts } from './model-server.js'
import { ModelWriter } from './model-writer.js'

/** Options of `serve`: those of `mora serve` in camelCase, keys, a path and a callback. */
export interface ServeOptions extends ServeInput {
  /** Keys of which clients need one. Default: everybody who reaches the handler may ask. */
  apiKeys?: readonly string[]
  /**
   * Names of the model's adapters that clients may ask, beside those that `loadAdapter` of the server loads; `[]`: none. Default: all,
   * those that the program adds later included, but for those that a run trains.
   */
  adapters?: readonly string[]
  /** What precedes `/v1`, `/health` and the other paths, such as `/llm`. Default: nothing. */
  basePath?: string
  /** Called with each failure that is not the client's. Default: it is printed on stderr. */
  onError?: (error: unknown) => void
}

const serveArguments = {
  model: having('a model (loadModel gives one)', 'createMemory', 'withAdapters', 'adapters', 'loadAdapter'),
  options: optionsSchema('the options of serve', {
    apiKeys: expecting('a list of keys', z.array(aText)).optional(),
    adapters: listOfTexts.optional(),
    basePath: expecting('a path that begins with /', z.string().startsWith('/')).optional(),
    onError: aFunction.optional(),
  }),
}

const MOST_BYTES = 8 * 2 ** 20

/**
 * Serves a model and its adapters by OpenAI's API, in this process. The result's `fetch` answers requests, so it sits in any
 * framework. Adapters are models by their names, but for those that a run trains (the option `adapters`).
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
  const { apiKeys = [], adapters, basePath = '/', onError = console.error, ...given } = options
  const settings = parseOptions(ServeSchema, given, { source: 'api' })
  if (settings.template !== 'auto' && !existsSync(settings.template)) {
    throw badValue('template', 'auto or the path of a file', settings.template)
  }
  for (const name of adapters ?? []) requireAdapter(model, name)
  const { name = servedName(model.reference), maxBatch, maxBody = MOST_BYTES } = settings
  const writer = new ModelWriter(
    model,
    new TextEngine(model, { sequences: maxBatch, longSequences: maxBatch - Math.floor(maxBatch / 4) }),
  )
  return serveTexts(writer, model, { ...settings, name, maxBodyBytes: maxBody, adapters, apiKeys, basePath, onError })
}

function requireAdapter({ adapters }: Pick<Model, 'adapters'>, name: string): void {
  if (adapters.has(name)) return
  const known = [...adapters.keys()].map((one) => quoted(one)).join(', ') || 'none'
  throw new UsageError(
    'unknown-adapter',
    `The option adapters names ${quoted(name)}, which the model does not have; it has: ${known}. Add it first, or load it with loadAdapter of the server.`,
  )
}
