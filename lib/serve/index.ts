/** Serving a model by OpenAI's API. */
export { listenServer } from './listen-server.js'
export { type ModelServer, type ServeOptions, serve } from './serve.js'
export type { ServedAdapterOptions } from './served-adapters.js'
