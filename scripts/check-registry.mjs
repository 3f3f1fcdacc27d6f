/**
 * Tries a release as a newcomer does: publishes build/packages ("npm run pack" makes it) to a registry on loopback, and uses it on
 * a bare Debian 13, made by debootstrap, with Node.js and without compiler, CMake and Python.
 *
 *     npm run check registry -- [--from FOLDER] [--as-built]
 *
 * --as-built also installs the libraries of an addon that was built on this machine, a Debian 13
 * (node scripts/pack.mjs --as-built).
 * Needs root and debootstrap. Ends with 1 if something failed, and with 3 if it cannot be tried here.
 */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startRegistry } from './registry/start.mjs'
import { bareDebian, installLibraries } from './systems/debian.mjs'
import { installations, tryInstallations } from './systems/installs.mjs'
import { Skipped, Steps } from './systems/steps.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values } = parseArgs({
  options: {
    from: { type: 'string', default: join(root, 'build', 'packages') },
    'as-built': { type: 'boolean', default: false },
  },
})
const from = resolve(values.from)
/** Megabytes that a platform's package may have, without the CUDA backend. */
const MOST = 40
const TEMPLATE = '{% for message in messages %}{{ message.content }} {% endfor %}'

const steps = new Steps('registry')
const { result, details } = await steps.outcome(async () => {
  if (!existsSync(from)) throw new Skipped(`there is no ${from}; "npm run pack" makes it`)
  const sizes = readdirSync(from)
    .filter((name) => name.endsWith('.tgz') && !name.includes('-cuda-'))
    .map((name) => ({ name, size: statSync(join(from, name)).size / 1e6 }))
  const { system, inside, remove } = await bareDebian(steps, 'trixie')
  const registry = await startRegistry(from)
  try {
    const run = async (name, command) => {
      const started = performance.now()
      const { output } = await steps.run(name, inside(command, { environment: registry.environment }))
      return { output, seconds: Math.round((performance.now() - started) / 1000) }
    }
    const expect = (name, output, pattern) => steps.require(pattern.test(output), `${name}: expected ${pattern}`)

    if (values['as-built']) await installLibraries(steps, inside)
    await run('bare', '! command -v cc c++ g++ clang++ cmake make python3')
    for (const { name, size } of sizes) {
      steps.require(size <= MOST, `${name} has ${size.toFixed(1)} MB; expected at most ${MOST}`)
      steps.tell(`${name} ${size.toFixed(1)} MB`)
    }
    const demo = await run('npx node-mora demo', 'npx --yes node-mora demo')
    expect('the demo', demo.output, /^MoRA +\S+ .* \d+ of 64$/m)
    expect('the demo', demo.output, /^expected .*\n\nNext:\n {2}npx node-mora inspect /m)
    steps.tell(`npx node-mora demo in ${demo.seconds} s`)
    expect('npx warns of nothing', demo.output, /^(?![\s\S]*npm warn)/)

    await run('npm install', 'mkdir project && cd project && npm init -y && npm install node-mora')
    const { output: lock } = await run('lock', 'cat project/package-lock.json')
    const scripted = Object.entries(JSON.parse(lock).packages).filter(([, entry]) => entry.hasInstallScript)
    expect('one package has a script', scripted.map(([place]) => place).join(), /^node_modules\/node-mora$/)
    expect('help', (await run('help', 'cd project && npx mora --help')).output, /^ {2}chat /m)
    const doctor = await run('doctor', 'cd project && npx mora doctor')
    expect('doctor', doctor.output, values['as-built'] ? /^addon +\S+mora\.node/m : /^addon +\S+, built for every /m)

    writeFileSync(join(system, 'root', 'project', 'template.jinja'), TEMPLATE)
    const model = 'node_modules/node-mora/assets/demo-model --template template.jinja --max-new-tokens 8'
    const chat = await run('chat', `cd project && echo "Ada has" | npx node-mora chat ${model}`)
    expect('chat', chat.output, /^\S.*\n$/m)
    steps.tell('help, doctor and chat answer')
    await tryInstallations(steps, { system, inside }, installations.registry, registry.environment)
    remove()
  } finally {
    registry.close()
  }
})
console.log(`registry: ${result}: ${details}`)
process.exitCode = { passed: 0, failed: 1, skipped: 3 }[result]
