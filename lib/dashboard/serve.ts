/** Serves the dashboard of a folder until it is closed. */
import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { listen } from '../common/listen.js'
import { dashboardApp } from './app.js'
import { Runs } from './runs.js'

/**
 * Serves the runs below a folder; `isPublic` is true if other machines can reach the server.
 * @param options host: name or address to listen on; port: 0 for any free one
 * @throws UsageError if it cannot listen there: the port is taken, or the address is not one of this machine
 */
export async function serveDashboard({ folder, host, port }: { folder: string; host: string; port: number }) {
  const ending = new AbortController()
  const runs = await Runs.in(folder, ending.signal)
  const app = dashboardApp(runs, { host })
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false }) as Server
  const { origin, ...reached } = await listen(server, host, port, 'dashboard')
  return {
    url: `${origin}/`,
    folder: runs.folder,
    ...reached,
    close: () =>
      new Promise<void>((resolve) => {
        ending.abort()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
