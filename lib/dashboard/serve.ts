/** Serves the dashboard of a folder until it is closed. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { UsageError } from '../common/errors.js'
import { dashboardApp } from './app.js'
import { isLoopback } from './own-origin.js'
import { Runs } from './runs.js'

export interface ServeOptions {
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
export async function serveDashboard({ folder, host, port }: ServeOptions): Promise<Dashboard> {
  const ending = new AbortController()
  const runs = await Runs.in(folder, ending.signal)
  const app = dashboardApp(runs, { host })
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false }) as Server
  await listen(server, host, port)
  const address = server.address() as AddressInfo
  return {
    url: `http://${nameInUrl(host)}:${address.port}/`,
    folder: runs.folder,
    port: address.port,
    isPublic: !isLoopback(host),
    close: () =>
      new Promise((resolve) => {
        ending.abort()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explain(error, host, port)))
    server.listen(port, host, resolve)
  })
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const refuse = (code: string, message: string) => new UsageError(code, message, { cause: error })
  if (error.code === 'EADDRINUSE') {
    return refuse(
      'port-taken',
      `Port ${port} of ${host} is taken by another program, perhaps another dashboard: choose another with the option port, or 0 for any that is free.`,
    )
  }
  if (error.code === 'EACCES') {
    return refuse(
      'port-refused',
      `The system does not allow port ${port}: choose another with the option port, from 1024 on.`,
    )
  }
  return refuse(
    'bad-host',
    `The dashboard cannot listen on ${host} (${error.message}): choose another with the option host.`,
  )
}

/** Returns the host for the URL: a browser cannot open the address for all interfaces. */
function nameInUrl(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}
