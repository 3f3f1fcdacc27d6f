/**
 * Runs what the Dockerfiles of docker/ run, in a bare Debian 13 made by debootstrap, with packages of build/packages from a registry
 * on loopback: their RUN steps, then `mora serve` as the image's user, and the health check. No image is built.
 *
 *     npm run check containers -- [--only cpu,cuda] [--from FOLDER] [--as-built]
 *
 * --as-built as in "npm run check registry". Needs root and debootstrap. Ends with 1 if something failed, and with 3 if nothing can
 * be tried here.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { startRegistry } from './registry/start.mjs'
import { bareDebian, installLibraries } from './systems/debian.mjs'
import { instructionsOf, lastOf } from './systems/dockerfile.mjs'
import { Skipped, Steps } from './systems/steps.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const kinds = ['cpu', 'cuda']
const { wanted, from, asBuilt } = orUsageError(() => {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: kinds.join() },
      from: { type: 'string', default: join(root, 'build', 'packages') },
      'as-built': { type: 'boolean', default: false },
    },
  })
  return { wanted: someOf('only', values.only, kinds), from: resolve(values.from), asBuilt: values['as-built'] }
})

const results = []
for (const kind of wanted) {
  const steps = new Steps(`container-${kind}`)
  const { result, details } = await steps.outcome(() => tryContainer(steps, kind))
  console.log(`${kind}: ${result}: ${details}`)
  results.push(result)
}
process.exitCode = results.includes('failed') ? 1 : results.includes('passed') ? 0 : 3

async function tryContainer(steps, kind) {
  if (!existsSync(from)) throw new Skipped(`there is no ${from}; "npm run pack" makes it`)
  const { system, inside, remove, mirror } = await bareDebian(steps, 'trixie')
  const registry = await startRegistry(from)
  try {
    if (kind === 'cuda' && !registry.published.some((line) => line.includes('-cuda ')))
      throw new Skipped('there is no package with the CUDA backend; "npm run build cuda" builds it')
    // The image's: its user, and how its apt knows Debian.
    await steps.run('user', inside('useradd --uid 1000 --create-home node'))
    rmSync(join(system, 'etc', 'apt', 'sources.list'), { force: true })
    const sources = `Types: deb\nURIs: ${mirror}\nSuites: trixie\nComponents: main\n`
    writeFileSync(join(system, 'etc', 'apt', 'sources.list.d', 'debian.sources'), sources)

    const instructions = instructionsOf(join(root, 'docker', `${kind}.Dockerfile`))
    if (asBuilt) await installLibraries(steps, inside)
    const environment = { ...registry.environment, VERSION: 'latest', DEBIAN_FRONTEND: 'noninteractive' }
    for (const { name, text } of instructions)
      if (name === 'RUN') await steps.run(`RUN ${text.slice(0, 60)}`, inside(text, { environment }))

    const model = '/opt/node-mora/lib/node_modules/node-mora/assets/demo-model'
    const health = JSON.parse(lastOf(instructions, 'HEALTHCHECK').replace(/^.*?CMD /, ''))
    const check = health.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
    const served = `${JSON.parse(lastOf(instructions, 'ENTRYPOINT'))[0]} serve --host 0.0.0.0 --model ${model}`
    const until = `for second in $(seq 120); do ${check} && break; sleep 1; done`
    const script = `! ${check}; ${served} & ${until}; ${check}; healthy=$?; id -u; kill $!; wait; exit $healthy`
    const asUser = `setpriv --reuid=${lastOf(instructions, 'USER')} --regid=node --clear-groups sh -c "$SCRIPT"`
    const { output } = await steps.run(
      'health',
      inside(asUser, { environment: { HF_HOME: '/models', SCRIPT: script } }),
    )
    steps.require(/^listening on /m.test(output), 'expected mora serve to listen')
    steps.require(/^1000$/m.test(output), 'expected a user without privileges')
    steps.tell('its steps run, and mora serve is healthy as the user node')
    remove()
  } finally {
    registry.close()
  }
}
