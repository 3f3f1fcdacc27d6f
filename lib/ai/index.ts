/**
 * Models in this process for the AI SDK (the package `ai`, version 7): language, embedding and reranking models of a loaded one, without
 * a server.
 *
 * @module node-mora/ai
 */
export type { MoraSettings } from './language-model.js'
export { type AdapterSetting, provider as mora } from './provider.js'
