/** The dashboard's HTTP routes: the page, its files, and the runs as JSON. */
import { type Context, Hono, type HonoRequest } from 'hono'
import { isOwnHost } from '../common/listen.js'
import { PAGE_HEADERS, readAssets } from './assets.js'
import type { KnownMetrics } from './payload.js'
import { payloadJson, type Runs } from './runs.js'

/** The page may only run its own files, and only request this server. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ...PAGE_HEADERS,
}

/** @param host name or address that the server listens on */
export function dashboardApp(runs: Runs, { host }: { host: string }): Hono {
  const assets = readAssets()
  const app = new Hono()
  app.use(async (context, next) => {
    const refused = whyRefused(context.req, host)
    for (const [name, value] of Object.entries(HEADERS)) context.header(name, value)
    if (refused?.status === 405) context.header('allow', 'GET, HEAD')
    return refused ? context.text(refused.reason, refused.status) : next()
  })

  app.get('/', (context) => serve(context, 'index.html'))
  app.get('/assets/:name', (context) => serve(context, context.req.param('name')))
  app.get('/api/runs', async (context) => answer(context, await runs.list()))
  app.get('/api/details', async (context) => found(context, await runs.details(context.req.query('id') ?? '')))
  app.get('/api/metrics', async (context) => {
    const { id = '', known } = context.req.query()
    return found(context, await runs.metrics(id, known === undefined ? null : knownOf(known)))
  })
  app.notFound((context) => answer(context, { error: 'There is nothing here.' }, 404))
  return app

  function serve(context: Context, name: string) {
    const asset = assets.get(name)
    return asset ? context.body(asset.text, 200, { 'content-type': asset.type }) : context.notFound()
  }
}

function answer(context: Context, payload: object, status: 200 | 404 = 200) {
  return context.body(payloadJson(payload), status, { 'content-type': 'application/json' })
}

function found(context: Context, payload: object | null) {
  return payload === null ? answer(context, { error: 'There is no such run.' }, 404) : answer(context, payload)
}

/** Parses the rows that a page already has, `VERSION,ROWS,WIDTH,ROWS,WIDTH…`; null for any other text. */
function knownOf(text: string): KnownMetrics | null {
  const [version = '', ...numbers] = text.split(',')
  if (numbers.length % 2 !== 0 || !numbers.every((number) => /^\d{1,15}$/.test(number))) return null
  const tables = numbers.flatMap((rows, i) =>
    i % 2 === 0 ? [{ rows: Number(rows), width: Number(numbers[i + 1]) }] : [],
  )
  return { version, tables }
}

/**
 * Returns why a request is rejected, with the status of the response; null if it comes from the dashboard's own page. Any other page
 * can make a browser send requests to a local server: by its address, or by a name that resolves to it (DNS rebinding).
 */
function whyRefused(request: HonoRequest, host: string): { status: 403 | 405; reason: string } | null {
  const { method } = request
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, reason: 'The dashboard only answers GET.' }
  const requestedHost = request.header('host')
  if (!isOwnHost(requestedHost, host))
    return { status: 403, reason: 'The dashboard has another address; use the one that it printed.' }
  const origin = request.header('origin')
  if ((origin !== undefined && origin !== `http://${requestedHost}`) || isFromOtherSite(request))
    return { status: 403, reason: 'The dashboard only answers its own page.' }
  return null
}

/** Whether another site sent the request, according to the browser's headers. Following a link to the page is allowed. */
function isFromOtherSite(request: HonoRequest): boolean {
  const site = request.header('sec-fetch-site')
  if (site === undefined || site === 'same-origin' || site === 'none') return false
  const isNavigation =
    request.header('sec-fetch-mode') === 'navigate' && request.header('sec-fetch-dest') === 'document'
  return !(request.path === '/' && isNavigation)
}
