/**
 * Whether a request comes from the dashboard's own page. A browser may be made to ask a local server by any other page:
 * by its address, or by a name that is made to lead here (DNS rebinding).
 */
import { isIP } from 'node:net'
import { hostname } from 'node:os'

export interface RequestFacts {
  method: string
  path: string
  /** A header by its name in lower case. */
  header(name: string): string | undefined
}

/** Why a request is refused, with the status to say so; null when it is answered. */
export function whyRefused(request: RequestFacts, host: string): { status: 403 | 405; reason: string } | null {
  const { method, header } = request
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, reason: 'The dashboard only answers GET.' }
  const asked = header('host')
  if (asked === undefined || !isOwnName(nameOf(asked), host)) {
    return { status: 403, reason: 'The dashboard does not go by this name; use the address that it printed.' }
  }
  const origin = header('origin')
  if (origin !== undefined && origin !== `http://${asked}`) {
    return { status: 403, reason: 'The dashboard only answers its own page.' }
  }
  return fromElsewhere(request) ? { status: 403, reason: 'The dashboard only answers its own page.' } : null
}

/** By what browsers say of a request. Following a link to the page is no harm. */
function fromElsewhere({ path, header }: RequestFacts): boolean {
  const site = header('sec-fetch-site')
  if (site === undefined || site === 'same-origin' || site === 'none') return false
  return !(path === '/' && header('sec-fetch-mode') === 'navigate' && header('sec-fetch-dest') === 'document')
}

/** Addresses cannot be made to lead elsewhere, names can: only those that are this server's own are answered. */
function isOwnName(name: string | null, host: string): boolean {
  if (name === null) return false
  if (isLoopback(name)) return true
  if (isLoopback(host)) return false
  return isIP(name) !== 0 || name === host.toLowerCase() || name === hostname().toLowerCase()
}

/** Whether only this machine reaches a host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** The name in a Host header, without port and brackets. */
function nameOf(host: string): string | null {
  if (!/^[\w.:[\]-]+$/.test(host)) return null
  try {
    return new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '').toLowerCase()
  } catch {
    return null
  }
}
