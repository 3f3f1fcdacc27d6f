/** Serves the dashboard of a folder until it is closed. */
import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { listen } from '../common/listen.js'
import { dashboardApp } from './app.js'
import { Runs } from './runs.js'

export interface DashboardOptions {
  /** The folder to search for runs. */
  folder: string
  /** Name or address to listen on. */
  host: string
  /** 0 for any free port. */
  port: number
}

export interface Dashboard {
  url: string
  /** The folder's real path. */
  folder: string
  port: number
  /** Whether other machines can reach it. */
  isPublic: boolean
  close(): Promise<void>
}

/** @throws UsageError if it cannot listen there: the port is taken, or the address is not one of this machine */
export async function serveDashboard({ folder, host, port }: DashboardOptions): Promise<Dashboard> {
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
      new Promise((resolve) => {
        ending.abort()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
