import { countsOf, quantile, repeat, Server } from './server.mjs'

const CHAT = '/v1/chat/completions'
const long = (i) => `${i} ${'The quick brown fox. '.repeat(360_000)}`.slice(0, 7_500_000)
const message = (content) => ({ messages: [{ role: 'user', content }], max_tokens: 1 })
/** As long as the model may take, for its bytes. */
const fitting = (i) => `${i} ${'The quick brown fox. '.repeat(7_000)}`

/** A small request is given up after so many seconds. */
const MOST = 20

/** Ways to send prompts of others. */
const ATTACKS = {
  'four texts of 7.5 MB': (server, i, how) => server.post('/v1/completions', { prompt: long(i), max_tokens: 1 }, how),
  'four chats of 7.5 MB': (server, i, how) => server.post(CHAT, message(long(i)), how),
  'four texts of 7.5 MB to tokenise': (server, i, how) => server.post('/tokenize', { prompt: long(i) }, how),
  'four texts of 147 kB': (server, i, how) =>
    server.post('/v1/completions', { prompt: fitting(i), max_tokens: 1 }, how),
  'four times 30 texts of 30 kB': (server, i, how) =>
    server.post(
      '/v1/completions',
      { prompt: Array.from({ length: 30 }, (_, k) => fitting(`${i} ${k}`).slice(0, 30_000)), max_tokens: 1 },
      how,
    ),
}

/** Four clients send long prompts in a loop, while another sends small ones. */
export async function sendPrompts({ model, seconds }) {
  const server = await Server.start(model)
  const small = (i) =>
    server.post('/v1/completions', { prompt: `Ada ${i}`, max_tokens: 1 }, { signal: AbortSignal.timeout(1000 * MOST) })
  await small('first')
  await server.post('/tokenize', { prompt: 'a '.repeat(200_000) })
  const rows = []
  for (const [what, attack] of Object.entries(ATTACKS)) {
    const over = new AbortController()
    /** @type {number[][]} */
    const [times, statuses] = [[], []]
    const attackers = Array.from({ length: 4 }, (_, k) =>
      repeat(seconds / 2, async (i) =>
        statuses.push((await attack(server, `${k} ${i}`, { signal: over.signal })).status),
      ),
    )
    const clients = repeat(seconds / 2, async (i) => {
      const { status, seconds: time } = await small(i)
      times.push(status === 200 ? time : Number.POSITIVE_INFINITY)
    })
    const health = await server.probe(seconds / 2)
    await clients
    over.abort()
    await Promise.all(attackers)
    rows.push([
      `a small request beside ${what}, median and at most [s]`,
      `${quantile(times, 0.5).toFixed(2)}, ${Math.max(...times).toFixed(2)}`,
      2,
    ])
    rows.push([`/health then, at most [s] (${countsOf(statuses)})`, (health.most / 1000).toFixed(2), 1])
  }
  await server.stop()
  return rows
}
