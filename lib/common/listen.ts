/** Starts servers on this machine, and recognises the machine's names in requests. */
import type { Server } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { hostname } from 'node:os'
import { UsageError } from './errors.js'
import { theOption } from './option-names.js'

/** A server that listens. */
interface Listening {
  /** `http://HOST:PORT`, as a program of this machine can open it. */
  readonly origin: string
  readonly port: number
  /** Whether other machines can reach it. */
  readonly isPublic: boolean
}

/**
 * Listens on a name or address of this machine; port 0 is any that is free.
 *
 * @param what the kind of server, for errors
 * @throws UsageError if the port is taken or refused, or the address is not one of this machine
 */
export async function listen(server: Server, host: string, port: number, what: string): Promise<Listening> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explain(error, host, port, what)))
    server.listen(port, host, resolve)
  })
  const address = server.address() as AddressInfo
  return { origin: `http://${nameInUrl(host)}:${address.port}`, port: address.port, isPublic: !isLoopback(host) }
}

function explain(error: NodeJS.ErrnoException, host: string, port: number, what: string): Error {
  const refuse = (code: string, message: string) => new UsageError(code, message, { cause: error })
  if (error.code === 'EADDRINUSE') {
    return refuse(
      'port-taken',
      `Port ${port} of ${host} is taken by another program, perhaps another ${what}: choose another with ${theOption('port')}, or 0 for any that is free.`,
    )
  }
  if (error.code === 'EACCES') {
    return refuse(
      'port-refused',
      `The system does not allow port ${port}: choose another with ${theOption('port')}, from 1024 on.`,
    )
  }
  return refuse(
    'bad-host',
    `The ${what} cannot listen on ${host} (${error.message}): choose another with ${theOption('host')}.`,
  )
}

/** Returns the host for the URL: the address for all interfaces cannot be opened. */
function nameInUrl(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

/** Whether a host is reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/**
 * Whether the Host header of a request names the server that listens on `host`. Any page can make a browser send requests to a local
 * server, by a name that resolves to it (DNS rebinding); an address cannot be made to resolve elsewhere.
 */
export function isOwnHost(header: string | undefined, host: string): boolean {
  if (header === undefined) return false
  const name = nameOf(header)
  if (isLoopback(name)) return true
  if (isLoopback(host)) return false
  return isIP(name) !== 0 || name === host.toLowerCase() || name === hostname().toLowerCase()
}

/** Returns the name in a Host header in lower case, without port and brackets. The server refuses one that fits no URL. */
function nameOf(header: string): string {
  return new URL(`http://${header}`).hostname.replace(/^\[|\]$/g, '')
}
