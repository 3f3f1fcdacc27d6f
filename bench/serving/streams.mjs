import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { getRequestListener } from '@hono/node-server'
import { serve } from 'node-mora'
import { SideProcess } from '../common/side-process.mjs'

/**
 * Serves the model to a client in a process of its own. Returns a function that has the client read the answers to `prompts` as streams,
 * all at once, and resolves with the seconds from the last answer's first token to the end of all; and one that ends both.
 * @param {any} model
 * @param {{ sequences: number, newTokens: number }} options the most sequences at once, and the tokens of each after the first
 */
export async function openStreams(model, { sequences, newTokens }) {
  const llm = serve(model, { name: 'base', maxBatch: sequences })
  const server = createServer(getRequestListener(llm.fetch, { overrideGlobalObjects: false })).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', () => resolve(undefined)))
  const client = new SideProcess('client', process.execPath, [
    fileURLToPath(new URL('streams-client.mjs', import.meta.url)),
  ])
  await client.ready()
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const url = `http://127.0.0.1:${port}/v1/completions`
  return {
    read: (/** @type {number[][]} */ prompts) => {
      const settings = { model: 'base', max_tokens: newTokens + 1, temperature: 0, ignore_eos: true, stream: true }
      return client.ask({ url, bodies: prompts.map((prompt) => JSON.stringify({ ...settings, prompt })) })
    },
    async close() {
      await client.stop()
      server.close()
      await llm.close()
    },
  }
}
