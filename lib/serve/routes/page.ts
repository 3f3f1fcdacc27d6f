/** `GET /`: a page to try the models in a browser. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DASHBOARD_PAGE, filesBelow, PAGE_HEADERS } from '../../dashboard/assets.js'
import { asOneFile } from '../../dashboard/one-file.js'

const OWN_PAGE = fileURLToPath(new URL('../page', import.meta.url))

/**
 * Returns the route of the page, which is one file, since a framework may answer other paths beside it. It may only run its own
 * scripts, and only request this server.
 */
export function pageRoute(): () => Promise<Response> {
  const paths = new Map([DASHBOARD_PAGE, OWN_PAGE].flatMap(filesBelow).map((path) => [basename(path), path]))
  const { html, scripts, styles } = asOneFile('chat.html', (name) => readFileSync(paths.get(name)!, 'utf8'))
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; script-src ${scripts.join(' ')}; style-src ${styles.join(' ')}; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    ...PAGE_HEADERS,
  }
  return async () => new Response(html, { headers })
}
