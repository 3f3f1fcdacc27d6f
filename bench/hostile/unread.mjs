import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { repeat, Server } from './server.mjs'

const STREAMS = 20

/** Clients ask for streams of many texts and never read them, while another asks for small ones. */
export async function leaveUnread({ model, seconds }) {
  const server = await Server.start(model, ['--timeout', '600'])
  const small = () => server.post('/v1/completions', { prompt: 'Ada', max_tokens: 4 })
  await small()
  const before = server.memory().now
  const { port, hostname } = new URL(server.origin)
  const body = JSON.stringify({ prompt: 'Once', n: 8, max_tokens: 400, stream: true, logprobs: 20 })
  const sockets = []
  const statuses = []
  await Promise.all([
    repeat(seconds, async (i) => {
      if (i < STREAMS) {
        const socket = connect(Number(port), hostname)
        socket.pause()
        socket.write(
          `POST /v1/completions HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
        )
        sockets.push(socket)
      }
      await sleep(500)
    }),
    repeat(seconds, async () => {
      statuses.push((await small()).status)
      await sleep(200)
    }),
  ])
  while ((await server.metric('sequences_running')) > 0) await sleep(500)
  const { now } = server.memory()
  for (const socket of sockets) socket.destroy()
  const after = await small()
  const stopped = await server.stop()
  return [
    [`memory above before, ${STREAMS} streams of 8 texts unread [MiB]`, now - before],
    ['answers to another, 200', `${statuses.filter((status) => status === 200).length} of ${statuses.length}`],
    ['the answer afterwards', after.status, 200],
    ['SIGTERM, until the end [s]', stopped.toFixed(2), 2],
  ]
}
