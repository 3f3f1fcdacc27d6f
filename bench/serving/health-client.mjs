// The other side of bench/serving/health.mjs: a process whose own server answers at once. For each request, a line of JSON
// {url, seconds}, it asks that address and its own one in turn every 10 ms, and answers with how long each took [ms].
import { createServer, get } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const server = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
const address = server.address()
const own = `http://127.0.0.1:${typeof address === 'object' && address?.port}`
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({})
for await (const line of createInterface({ input: process.stdin })) {
  const { url, seconds } = JSON.parse(line)
  /** @type {{ asked: number[], own: number[] }} */
  const times = { asked: [], own: [] }
  const end = performance.now() + 1000 * seconds
  while (performance.now() < end) {
    times.asked.push(await timeOf(url))
    times.own.push(await timeOf(own))
    await sleep(10)
  }
  say(times)
}
server.close()

/**
 * Returns the milliseconds until an answer has come.
 * @param {string} url
 * @returns {Promise<number>}
 */
function timeOf(url) {
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, (response) =>
      response.resume().once('end', () => resolve(performance.now() - start)),
    )
    request.once('error', reject)
  })
}
