// The client of bench/serving/streams.mjs. For each request, a line of JSON {url, bodies}, it posts all bodies at once, reads the
// streams that answer, and says how many seconds passed from the last one's first event to the end of all.
import { request } from 'node:http'
import { createInterface } from 'node:readline'

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({})
for await (const line of createInterface({ input: process.stdin })) {
  const { url, bodies } = JSON.parse(line)
  const firsts = await Promise.all(bodies.map((body) => firstOf(url, body)))
  say({ seconds: (performance.now() - Math.max(...firsts)) / 1000 })
}

/**
 * Resolves at the end of a stream with when its first event came.
 * @param {string} url
 * @param {string} body
 * @returns {Promise<number>}
 */
function firstOf(url, body) {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  return new Promise((resolve, reject) => {
    const post = request(url, { method: 'POST', headers }, (response) => {
      let first = 0
      let end = ''
      response.on('data', (bytes) => {
        first ||= performance.now()
        end = (end + bytes.toString('latin1')).slice(-32)
      })
      response.once('end', () =>
        end.endsWith('data: [DONE]\n\n') ? resolve(first) : reject(new Error(`A stream ended with ${end}`)),
      )
    })
    post.once('error', reject).end(body)
  })
}
