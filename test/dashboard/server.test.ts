import { once } from 'node:events'
import { readdirSync, symlinkSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, describe, expect, it } from 'vitest'
import type { RunMetrics } from '../../lib/dashboard/payload.js'
import { serveDashboard } from '../../lib/dashboard/serve.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { appendMetrics, stepLine, writeRun } from './run-folders.js'

const folder = useTemporaryFolder()
let dashboard: Awaited<ReturnType<typeof serveDashboard>> | null = null
afterEach(async () => {
  await dashboard?.close()
  dashboard = null
})

async function serve(path = folder(), host = '127.0.0.1') {
  dashboard = await serveDashboard({ folder: path, host, port: 0 })
  return dashboard
}

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** Requests exactly this path, which a URL would normalise. */
async function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const asked = request({ host: '127.0.0.1', port: dashboard!.port, path, method, headers })
  asked.end()
  const [response] = await once(asked, 'response')
  return { status: response.statusCode, headers: response.headers, text: await text(response) }
}
const askJson = async <Value>(path: string) => JSON.parse((await ask(path)).text) as Value

describe('the server of the dashboard', () => {
  it('answers with the page, its files, and the runs', async () => {
    writeRun(folder(), 'out')
    await serve()
    const page = await ask('/')
    expect(page).toMatchObject({ status: 200, headers: { 'content-type': 'text/html; charset=utf-8' } })
    const files = [...page.text.matchAll(/(?:href|src)="([^"]*assets[^"]*)"/g)].map(([, file]) => file!)
    const modules = readdirSync(join(import.meta.dirname, '../../lib/dashboard/page')).filter((name) =>
      name.endsWith('.js'),
    )
    expect(Math.min(files.length, modules.length)).toBeGreaterThan(5)
    for (const file of [...files, ...modules.map((name) => `assets/${name}`)]) {
      expect((await ask(`/${file}`)).status, file).toBe(200)
    }
    expect(await askJson('/api/runs')).toMatchObject({ folder: folder(), runs: [{ id: 'out', step: 3 }] })
    expect(await askJson('/api/details?id=out')).toMatchObject({ id: 'out' })
    expect(await askJson('/api/metrics?id=out')).toMatchObject({ steps: { rows: 3 } })
  })

  it('sends appended metrics, and everything to a client with another version', async () => {
    const run = writeRun(folder(), 'out')
    await serve()
    const { version } = await askJson<RunMetrics>('/api/metrics?id=out')
    appendMetrics(run, [stepLine(4)])
    const rest = await askJson<RunMetrics>(`/api/metrics?id=out&known=${version},3,1,0,1`)
    expect(rest.steps).toMatchObject({ from: 3, steps: [4] })
    for (const known of [
      'other,3,1,0,1',
      `${version},3,2,0,1`,
      `${version},9,1,0,1`,
      `${version},-1,1,0,1`,
      `${version},3,1,0`,
      `${version},3,1`,
      'x',
      '',
    ]) {
      const whole = await askJson<RunMetrics>(`/api/metrics?id=out&known=${known}`)
      expect(whole.steps.steps, known).toEqual([1, 2, 3, 4])
    }
  })

  it('lets a page run its own files only, and forbids framing and caching', async () => {
    await serve()
    for (const path of ['/', '/api/runs', '/assets/main.js', '/absent']) {
      const { headers } = await ask(path)
      expect(headers['content-security-policy'], path).toMatch(
        /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'/,
      )
      expect(headers, path).toMatchObject({
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
      })
      expect(headers['access-control-allow-origin'], path).toBeUndefined()
    }
  })

  it.each([
    '/../package.json',
    '/assets/../app.ts',
    '/assets/..%2fapp.ts',
    '/assets/%2e%2e/app.ts',
    '/assets/',
    '/assets/page/main.js',
    '/assets/constructor',
    '/etc/passwd',
    '//etc/passwd',
  ])('has nothing at %s', async (path) => {
    await serve()
    expect((await ask(path)).status).toBe(404)
  })

  it('knows no run outside of its folder', async () => {
    writeRun(folder(), 'outside')
    const inside = writeRun(folder(), 'inside/own')
    symlinkSync(join(folder(), 'outside'), join(inside, 'link'))
    await serve(join(folder(), 'inside'))
    for (const id of ['../outside', '..%2Foutside', 'own/link', encodeURIComponent(join(folder(), 'outside')), '']) {
      for (const kind of ['details', 'metrics']) expect((await ask(`/api/${kind}?id=${id}`)).status, id).toBe(404)
    }
  })

  it('only answers GET and HEAD', async () => {
    await serve()
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      expect(await ask('/api/runs', {}, method), method).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } })
    }
    expect(await ask('/api/runs', {}, 'HEAD')).toMatchObject({ status: 200, text: '' })
  })

  it.each([
    ['a name that leads here', { host: 'evil.example' }],
    ['a name that begins like its own', { host: '127.0.0.1.evil.example' }],
    ['a name that ends like its own', { host: 'evil-localhost' }],
    ['an address that is not its own', { host: '192.168.1.7' }],
    ['a name with a user', { host: 'localhost@evil.example' }],
    ['another origin', { origin: 'http://evil.example' }],
    ['no origin', { origin: 'null' }],
    ['another port of this machine', { origin: 'http://127.0.0.1:1' }],
    ['a request of another site', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }],
    ['a request of a sibling', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' }],
    [
      'a visit from another site',
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
    ],
  ])('refuses %s', async (_, headers) => {
    writeRun(folder(), 'out')
    await serve()
    const answer = await ask('/api/runs', headers)
    expect([400, 403]).toContain(answer.status)
    expect(answer.text).not.toContain('out')
  })

  it('refuses a request without a name', async () => {
    await serve()
    const socket = connect(dashboard!.port, '127.0.0.1')
    socket.end('GET /api/runs HTTP/1.0\r\n\r\n')
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 40[03] /)
  })

  it('answers to every name of this machine, also through a forwarded port', async () => {
    await serve()
    for (const host of ['localhost', 'LOCALHOST:1234', '127.0.0.1:99', '127.5.5.5', '[::1]:6116']) {
      expect((await ask('/api/runs', { host })).status, host).toBe(200)
    }
    const own = { host: 'localhost:1234', origin: 'http://localhost:1234', 'sec-fetch-site': 'same-origin' }
    expect((await ask('/api/runs', own)).status).toBe(200)
  })

  it('can be opened by a link, but not embedded in another page', async () => {
    await serve()
    const visit = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
    expect((await ask('/', { ...visit, 'sec-fetch-dest': 'document' })).status).toBe(200)
    expect((await ask('/', { ...visit, 'sec-fetch-dest': 'iframe' })).status).toBe(403)
  })

  it('answers to addresses, but not to arbitrary names, where other machines have access', async () => {
    const { isPublic, url, port } = await serve(folder(), '0.0.0.0')
    expect([isPublic, url]).toEqual([true, `http://localhost:${port}/`])
    const statusOf = async (host: string) => (await ask('/api/runs', { host })).status
    const names = ['192.168.1.7:80', 'localhost', hostname(), 'evil.example', 'localhost:x']
    expect(await Promise.all(names.map(statusOf))).toEqual([200, 200, 200, 403, 400])
  })

  it('says which port is taken, and what to do', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await expectRejection(
      serveDashboard({ folder: folder(), host: '127.0.0.1', port }),
      'port-taken',
      new RegExp(`Port ${port} of 127\\.0\\.0\\.1 is taken.*the option port, or 0`),
    )
    other.close()
    await expectRejection(
      serveDashboard({ folder: folder(), host: '203.0.113.1', port: 0 }),
      'bad-host',
      /203\.0\.113\.1/,
    )
  })

  it('ends at once although pages are open', async () => {
    await serve()
    const socket = request({ host: '127.0.0.1', port: dashboard!.port, path: '/api/runs' })
    socket.end()
    await once(socket, 'response')
    await dashboard!.close()
    await expect(fetch(dashboard!.url)).rejects.toThrow()
    dashboard = null
  })
})
