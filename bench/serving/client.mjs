import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { getRequestListener } from '@hono/node-server'
import { serve } from 'node-mora'
import { SideProcess } from '../common/side-process.mjs'

/**
 * Serves the model as `base` to a client in a process of its own.
 * @param {any} model
 * @param {string} script the client's, in this folder
 * @param {{ maxBatch?: number }} [options] of `serve`
 */
export async function serveToClient(model, script, options = {}) {
  const llm = serve(model, { name: 'base', ...options })
  const server = createServer(getRequestListener(llm.fetch, { overrideGlobalObjects: false })).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', () => resolve(undefined)))
  const client = new SideProcess('client', process.execPath, [fileURLToPath(new URL(script, import.meta.url))])
  await client.ready()
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    llm,
    client,
    origin: `http://127.0.0.1:${port}`,
    async close() {
      await client.stop()
      server.close()
      await llm.close()
    },
  }
}
