import { setTimeout as sleep } from 'node:timers/promises'
import { countsOf, quantile, repeat, Server } from './server.mjs'

const CHAT = '/v1/chat/completions'
const CLIENTS = 24
const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] }
const format = { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } }

/**
 * What is asked for and left.
 * @type {((i: number) => [path: string, body: any])[]}
 */
const ASKED = [
  (i) => [
    CHAT,
    { messages: [{ role: 'user', content: `Tell a story of ${i}.` }], max_tokens: 200, stream: i % 2 === 0 },
  ],
  (i) => ['/v1/completions', { prompt: `Once ${i}`, max_tokens: 100, n: 2, stream: i % 2 === 0 }],
  (i) => [
    CHAT,
    { messages: [{ role: 'user', content: `Tell a story of ${i}.` }], max_tokens: 100, stream: true, ...format },
  ],
  (i) => ['/v1/completions', { prompt: `Once ${i}`, max_tokens: 0, echo: true, logprobs: 1 }],
  (i) => ['/v1/embeddings', { input: [`one ${i}`, `two ${i}`] }],
  (i) => ['/tokenize', { prompt: `Once ${i}` }],
]

/** Clients leave at any moment, while others stay; afterwards nothing is held. */
export async function abortRequests({ model, requests }) {
  const server = await Server.start(model)
  const text = () => server.post('/v1/completions', { prompt: 'Once upon a time', max_tokens: 16, temperature: 0 })
  const { text: first } = await text()
  for (const of of ASKED) await server.post(...of(0))
  let [sent, left] = [0, 0]
  const stayed = { isOver: false }
  /** @type {number[][]} */
  const [statuses, memory, seconds] = [[], [], []]
  const leavers = Array.from({ length: CLIENTS }, async (_, client) => {
    while (sent < requests) {
      const i = sent++
      const leaving = new AbortController()
      const answer = server.post(...ASKED[(i + client) % ASKED.length](i), { signal: leaving.signal })
      await Promise.race([answer, sleep(2 ** ((i * 7) % 12) / 8)])
      leaving.abort()
      if ((await answer).status === 0) left++
      if (i % 1000 === 0) memory.push(server.memory().now)
    }
  })
  const honest = Array.from({ length: 2 }, async (_, client) => {
    for (let i = 0; !stayed.isOver; i++) {
      const [path, body] = ASKED[(i + client) % ASKED.length](i)
      const isText = 'max_tokens' in body && body.max_tokens > 0
      const answer = await server.post(path, { ...body, ...(isText && { max_tokens: 4 }) })
      statuses.push(answer.status)
      seconds.push(answer.seconds)
    }
  })
  await Promise.all(leavers)
  stayed.isOver = true
  await Promise.all(honest)
  await repeat(2, () => sleep(100))
  const { text: last } = await text()
  const textOf = (answer) => JSON.parse(answer).choices[0].text
  const held = await Promise.all(
    ['pages_used', 'sequences_running', 'sequences_waiting'].map((name) => server.metric(name)),
  )
  memory.push(server.memory().now)
  await server.stop()
  return [
    ['requests that were left', `${left} of ${sent}`, ''],
    ['statuses of those who stayed', countsOf(statuses), '200, 429'],
    [
      'their answers took, median and at most [s]',
      `${quantile(seconds, 0.5).toFixed(2)}, ${Math.max(...seconds).toFixed(2)}`,
    ],
    ['pages, running and waiting sequences after', held.join(', '), '0, 0, 0'],
    ['the same text as before', textOf(first) === textOf(last), true],
    ['memory after each 1000 [MiB]', memory.join(' '), 'flat'],
    ['the log', server.log.slice(0, 200), ''],
  ]
}
