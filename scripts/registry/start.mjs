/** Starts the registry on loopback (server.mjs) and publishes packages to it. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const scripts = dirname(dirname(fileURLToPath(import.meta.url)))

/** Returns the variables by which npm uses it, what publishing the packages of `folder` said, and a function that ends it. */
export async function startRegistry(folder) {
  const server = spawn(process.execPath, [join(scripts, 'registry', 'server.mjs')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [address] = await once(server.stdout.setEncoding('utf8'), 'data')
  const url = address.trim()
  const environment = { npm_config_registry: url, [`npm_config_${url.slice('http:'.length)}:_authToken`]: 'any' }
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(scripts, 'publish.mjs'), '--from', folder], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  })
  const close = () => server.stdin.end()
  if (status === 0) return { environment, published: stdout.trim().split('\n'), close }
  close()
  throw new Error(stderr)
}
