/** The program of docs/guides/rows.md, with a server of pages, and a database where Node.js has SQLite. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { placeExample, runExample, startExample } from '../example-process.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, lacksBuild, needing } from '../needs.js'
import { lacksDraw } from './drawn-guide.js'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const lacksSqlite = lack('SQLite in Node.js 22.13', major > 22 || (major === 22 && minor >= 13))
const OF_A_PAGE = 10
const folder = useTemporaryFolder()
const lossesOf = (printed: string) => [...printed.matchAll(/^step \d+ {2}loss (\S+)$/gm)].map(([, loss]) => loss)

let server: Server
let url: string
let module: string
/** The pages that were asked for. */
let asked: number[]

/** A row of a page or of the table; every fourth is one that nobody voted for. */
const rowOf = (i: number, topic: string) => ({ title: `Where is ${topic} ${i}?`, body: `In row ${i}.`, votes: i % 4 })

beforeEach(async () => {
  asked = []
  let failures = 1
  server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, url)
    const page = Number(searchParams.get('page'))
    if (pathname !== '/rows') return response.writeHead(404).end()
    if (page === 2 && failures-- > 0) return response.writeHead(503).end()
    asked.push(page)
    const rows = Array.from({ length: OF_A_PAGE }, (_, i) => rowOf(page * OF_A_PAGE + i, 'page'))
    return response.end(JSON.stringify({ rows, next: `${url}?page=${page + 1}` }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/rows`
  module = placeExample(folder(), 'rows')
})
afterEach(() => new Promise((closed) => server.close(closed)))

const run = (output: string, steps: number, ...sources: string[]) =>
  runExample(module, DEMO_MODEL, join(folder(), output), String(steps), ...sources)

needing(lacksDraw('rows'), lacksBuild).test(
  'pages without an end are read as steps need them, and again when the run goes on',
  async () => {
    const whole = lossesOf(await run('whole', 12, url))
    expect(whole).toHaveLength(12)
    const inWhole = asked.length
    expect(asked).toEqual(Array.from({ length: inWhole }, (_, page) => page))
    // Three of four rows are trained. The buffer begins with those of four steps and grows by one with each row that is drawn, and a
    // few steps are drawn ahead.
    expect(inWhole * OF_A_PAGE).toBeGreaterThanOrEqual(12 * 8)
    expect(inWhole * OF_A_PAGE).toBeLessThan(5 * 12 * 8)

    const killed = startExample(module, [DEMO_MODEL, join(folder(), 'killed'), '12', url])
    let said = ''
    killed.stdout!.on('data', (text) => {
      said += text
      if (said.includes('step 6 ')) killed.kill('SIGKILL')
    })
    await once(killed, 'close')
    const rest = lossesOf(await run('killed', 12, url))
    expect(rest.length).toBeGreaterThan(0)
    expect(rest.length).toBeLessThan(12)
    expect(rest).toEqual(whole.slice(-rest.length))
  },
)

needing(lacksDraw('rows'), lacksBuild, lacksSqlite).test(
  'a table is read again from its start beside pages, as often as steps need it',
  async () => {
    const { DatabaseSync } = await import('node:sqlite')
    const path = join(folder(), 'faq.db')
    const database = new DatabaseSync(path)
    database.exec('CREATE TABLE faq (id INTEGER PRIMARY KEY, title TEXT, body TEXT, votes INTEGER)')
    const insert = database.prepare('INSERT INTO faq (title, body, votes) VALUES (?, ?, ?)')
    for (let i = 0; i < 40; i++) {
      const { title, body, votes } = rowOf(i, 'table')
      insert.run(title, body, votes)
    }
    database.close()
    expect(lossesOf(await run('both', 12, path, url))).toHaveLength(12)
    expect(asked.length).toBeGreaterThan(0)
    expect(lossesOf(await run('table', 2, path))).toHaveLength(2)
  },
)

needing(lacksDraw('rows'), lacksBuild).test('a page that is missing ends the run with its address', async () => {
  await expect(run('missing', 2, `${url}-elsewhere`)).rejects.toThrow('answered 404')
})
