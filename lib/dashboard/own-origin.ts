/**
 * Checks whether a request comes from the dashboard's own page. Any other page can make a browser send requests to a local
 * server: by its address, or by a name that resolves to it (DNS rebinding).
 */
import { isOwnHost } from '../common/listen.js'

interface RequestFacts {
  method: string
  path: string
  /** Returns a header by its name in lower case. */
  header(name: string): string | undefined
}

/** Returns why a request is rejected, with the status of the response; null if it is allowed. */
export function whyRefused(request: RequestFacts, host: string): { status: 403 | 405; reason: string } | null {
  const { method, header } = request
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, reason: 'The dashboard only answers GET.' }
  const asked = header('host')
  if (!isOwnHost(asked, host)) {
    return { status: 403, reason: 'The dashboard has another address; use the one that it printed.' }
  }
  const origin = header('origin')
  if (origin !== undefined && origin !== `http://${asked}`) {
    return { status: 403, reason: 'The dashboard only answers its own page.' }
  }
  return fromElsewhere(request) ? { status: 403, reason: 'The dashboard only answers its own page.' } : null
}

/** Whether another site sent the request, according to the browser's headers. Following a link to the page is allowed. */
function fromElsewhere({ path, header }: RequestFacts): boolean {
  const site = header('sec-fetch-site')
  if (site === undefined || site === 'same-origin' || site === 'none') return false
  return !(path === '/' && header('sec-fetch-mode') === 'navigate' && header('sec-fetch-dest') === 'document')
}
