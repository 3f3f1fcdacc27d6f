/** A request as code that repeats it. */
import { quoted } from '../../dashboard/page/code.js'

/** @typedef {import('./api.js').TextRequest} TextRequest */

/** The environment variable with the key in copied code, which never contains the key itself. */
const KEY = 'LLM_KEY'

/**
 * @param {string} address of the route
 * @param {TextRequest} request
 * @param {boolean} hasKey whether the server needs one
 */
export function asCurl(address, request, hasKey) {
  const headers = [`-H 'content-type: application/json'`, ...(hasKey ? [`-H "authorization: Bearer $${KEY}"`] : [])]
  const lines = [`curl ${quoted(address)}`, ...headers, `-d ${quoted(JSON.stringify(request, null, 2))}`]
  return lines.join(' \\\n  ')
}

/**
 * Returns a program for Node.js with the package `openai`.
 * @param {string} api address that ends with /v1
 * @param {TextRequest} request
 * @param {boolean} hasKey whether the server needs one
 */
export function asNode(api, request, hasKey) {
  const key = hasKey ? `process.env.${KEY}` : `'none'`
  const [call, said] = request.messages ? ['chat.completions', 'message'] : ['completions', 'text']
  return `import OpenAI from 'openai'

const client = new OpenAI({ baseURL: ${JSON.stringify(api)}, apiKey: ${key} })
const { choices } = await client.${call}.create(${JSON.stringify(request, null, 2)})
console.log(choices[0].${said})`
}
