/** Options of `mora serve` and `serve()`. */
import { z } from 'zod'
import { flag, integer, optionalInteger, optionalSize, text, texts, textWithDefault } from '../schema/option.js'
import { commandLineOnly, type LibraryInput } from '../schema/option-facts.js'
import {
  commonOptionsOfLoaded,
  loadedForm,
  loadedOptions,
  whereDecodingIsNotSlower,
  withoutHub,
  withoutSeed,
} from './common.js'

const { model, allowOtherBase } = loadedOptions

/** Matches names that can be the last part of a URL's path. */
export const ADAPTER_NAME = /^(?=.{1,128}$)(?!\.{1,2}(?:\/|$))[\w.-]+(?:\/(?!\.{1,2}(?:\/|$))[\w.-]+)*$/
export const ADAPTER_NAME_WORDS =
  'a name of at most 128 letters, digits, dots, hyphens and underscores, with single slashes between its parts'

export const ServeSchema = z.strictObject({
  model,
  adapter: commandLineOnly(
    texts('an adapter, and the name by which clients request it as model', 'NAME=A', {
      expects: 'a name and a folder or hub id, as NAME=A',
      adds: true,
    }),
  ),
  host: commandLineOnly(
    textWithDefault('name or address to listen on; 0.0.0.0 lets other machines connect too', 'HOST', '127.0.0.1', {
      expects: 'a name or an address of this machine',
    }),
  ),
  port: commandLineOnly(integer('port to listen on; 0 picks a free one', 8080, { min: 0, max: 65_535 })),
  apiKeyFile: commandLineOnly(
    text('file with accepted API keys, a line each: KEY, or NAME KEY', 'FILE', { expects: 'the path of a file' }),
  ),
  allowOtherBase,
  ...loadedForm(whereDecodingIsNotSlower),
  template: textWithDefault(
    "the chat template of conversations: auto is the model's own, else a file with a Jinja template",
    'auto|FILE',
    'auto',
    { expects: 'auto, or the path of a file' },
  ),
  name: text("the base model's name for clients", 'NAME', {
    defaultText: 'owner/name of the hub, or the name of its file or folder',
  }),
  maxTokens: optionalInteger('maximum number of new tokens for a chat request without max_tokens', {
    min: 1,
    defaultText: "the model's positions",
  }),
  maxBatch: integer('maximum number of running sequences; others wait', 32, { min: 1, max: 1024 }),
  maxQueue: integer('maximum number of waiting sequences; further requests are refused with 429', 128, {
    min: 0,
    max: 100_000,
  }),
  maxBody: optionalSize('maximum size of a request body', { defaultText: '8MiB' }),
  timeout: integer('maximum duration of a request, in seconds', 600, { min: 1, max: 86_400 }),
  grace: integer('seconds that running requests have to finish after SIGTERM or Ctrl-C', 30, {
    min: 0,
    max: 86_400,
    library: { description: 'seconds that running requests have to finish after close()' },
  }),
  allowLoading: flag('let clients load, replace and unload adapters'),
  jobs: commandLineOnly(
    text("let clients upload files and train adapters by OpenAI's fine-tuning jobs; the folder keeps them", 'FOLDER', {
      expects: 'the path of a folder',
    }),
  ),
  page: commandLineOnly(flag('serve a page to try the models in a browser, at /', true)),
  ...commonOptionsOfLoaded,
  ...withoutHub,
  ...withoutSeed,
})

/** The options of `mora serve`, as the library takes them. */
export type ServeInput = LibraryInput<typeof ServeSchema>
