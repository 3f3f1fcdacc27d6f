/**
 * A registry of npm on loopback: it takes packages of node-mora and answers for them, and passes everything else on to the
 * registry that npm is set to. Prints its address, and ends when its input does.
 *
 *     node scripts/registry/server.mjs [--lock package-lock.json]
 *
 * --lock answers for all other packages by a lock file. npm asks then for nothing but archives, which its cache may have.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'

const { lock } = parseArgs({ options: { lock: { type: 'string', default: '' } } }).values
const upstream = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim()

/** Documents of published packages by name, and their archives by path. */
const packages = new Map()
const archives = new Map()
const own = /^(node-mora$|@node-mora\/)/

const server = createServer(async (request, response) => {
  try {
    const { status, type, body } = await answer(request)
    response.writeHead(status, { 'content-type': type }).end(body)
  } catch (error) {
    response.writeHead(502).end(error.message)
  }
})
server.listen(0, '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`http://127.0.0.1:${port}/`)
})
process.stdin.resume().on('end', () => process.exit())

async function answer(request) {
  const path = decodeURIComponent(request.url.slice(1).replace(/\?.*/, ''))
  if (request.method === 'PUT') return publish(await bodyOf(request))
  const archive = archives.get(path)
  if (archive) return { status: 200, type: 'application/octet-stream', body: archive }
  const document = own.test(path) ? packages.get(path) : lock && locked(path)
  if (document) return json(200, document)
  return own.test(path) ? json(404, { error: 'not found' }) : passOn(request)
}

/** Takes what `npm publish` sends; a version is published once. */
function publish(body) {
  const { _attachments: attached, ...document } = JSON.parse(body)
  const [[version, { dist }]] = Object.entries(document.versions)
  const known = packages.get(document.name)
  if (known?.versions[version]) return json(403, { error: `${document.name}@${version} is there already` })
  // Beside it, there may be a signed provenance.
  const data = Object.entries(attached).find(([name]) => name.endsWith('.tgz'))?.[1].data
  archives.set(decodeURIComponent(new URL(dist.tarball).pathname.slice(1)), Buffer.from(data, 'base64'))
  packages.set(document.name, { ...document, versions: { ...known?.versions, ...document.versions } })
  return json(201, { ok: true })
}

/** Returns the document of a package from the lock file: the versions that it names. */
function locked(name) {
  const entries = Object.entries(JSON.parse(readFileSync(lock, 'utf8')).packages)
  const versions = entries
    .filter(([place, entry]) => (entry.name ?? place.split('node_modules/').at(-1)) === name)
    .map(([, { integrity, ...entry }]) => {
      const tarball = `${upstream}${name}/-/${name.split('/').at(-1)}-${entry.version}.tgz`
      return [entry.version, { ...entry, name, dist: { tarball, integrity } }]
    })
  if (versions.length === 0) return null
  return { name, 'dist-tags': { latest: versions[0][0] }, versions: Object.fromEntries(versions) }
}

async function passOn({ url, headers: { accept = '*/*' } }) {
  const response = await fetch(new URL(url.slice(1), upstream), { headers: { accept } })
  const type = response.headers.get('content-type') ?? 'application/octet-stream'
  return { status: response.status, type, body: Buffer.from(await response.arrayBuffer()) }
}

const json = (status, body) => ({ status, type: 'application/json', body: JSON.stringify(body) })

async function bodyOf(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}
