/**
 * Models in this process for the AI SDK (the package `ai`, version 7): language, embedding and reranking models of a loaded one, without
 * a server.
 *
 * @module node-mora/ai
 */
export { type AdapterSetting, type MoraProvider, type MoraSettings, provider as mora } from './provider.js'
