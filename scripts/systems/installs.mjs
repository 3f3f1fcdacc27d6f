/**
 * Installations of the package in empty projects of a bare system, each by a package manager. Each ends with two training steps
 * of the demo's model, or, where there is no addon, with the sentence that says how to get one.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Versions that were tried. */
const managers = { pnpm: 'pnpm@12.26.0', yarn: '@yarnpkg/cli-dist@4.18.1', bun: 'bun@1.4.5' }

const TRAINING = `import { doctor, loadModel, mora, train } from 'node-mora'
const [problem] = doctor().problems.filter(({ level }) => level === 'error')
if (problem) {
  console.log('without an addon: ' + problem.problem + ' Get one with: ' + problem.remedy)
  process.exit()
}
const { writeFileSync } = await import('node:fs')
writeFileSync('rows.jsonl', '{"prompt": "What is 17 + 25?", "completion": "42"}\\n')
const model = await loadModel('node_modules/node-mora/assets/demo-model', { threads: 1 })
await model.addAdapter('facts', mora({ rank: 2 }))
const options = { data: 'rows.jsonl', output: 'out', maxSteps: 2, columns: { prompt: 'prompt', completion: 'completion' } }
let trained
for await (const event of train(model, options)) if (event.type === 'step') trained = event.loss
console.log('trained: ' + trained + ' with ' + doctor().addon.path)
`

/** What an installation must print at its end. */
const PREBUILT = /^trained: [\d.]+ with .*@node-mora\S+\/mora\.node$/m
const COMPILED = /^trained: [\d.]+ with .*node-mora\/build\/Release\/mora\.node$/m
const HELD_BACK = (allow) => new RegExp(`^without an addon: .*\\(not there\\).* Get one with: .*${allow}`, 'm')
const NO_TOOLS =
  /^without an addon: .*\(not built: CMake, a C\+\+20 compiler and make were not found\).* Get one with: .*apt-get install cmake g\+\+ make libeigen3-dev && npx node-mora build/m

/** The installations without a compiler, then those with one. `source` is a name of the registry or a tarball. */
export const installations = {
  registry: {
    bare: [
      { name: 'npm', install: 'npm install node-mora', ends: PREBUILT },
      { name: 'npm, no scripts', install: 'npm install --ignore-scripts node-mora', ends: PREBUILT },
      { name: 'npm, no optional', install: 'npm install --omit=optional node-mora', ends: NO_TOOLS },
      {
        name: 'npm, neither',
        install: 'npm install --omit=optional --ignore-scripts node-mora',
        ends: HELD_BACK('npm approve-scripts node-mora'),
      },
      // pnpm fails for every package whose script it holds back.
      { name: 'pnpm', install: 'pnpm add node-mora || test -d node_modules/node-mora', ends: PREBUILT },
      {
        name: 'pnpm, no optional',
        install: 'pnpm add --no-optional node-mora || test -d node_modules/node-mora',
        ends: HELD_BACK('pnpm add node-mora --allow-build=node-mora'),
      },
      { name: 'yarn', install: 'yarn add node-mora', ends: PREBUILT },
      { name: 'bun', install: 'bun add node-mora', ends: PREBUILT },
      {
        name: 'bun, no optional',
        install: 'bun add --omit=optional node-mora',
        ends: HELD_BACK('bun pm trust node-mora'),
      },
    ],
    compiling: [
      { name: 'npm, no optional, compiler', install: 'npm install --omit=optional node-mora', ends: COMPILED },
      {
        name: 'pnpm, no optional, compiler',
        install: 'pnpm add --no-optional --allow-build=node-mora node-mora',
        ends: COMPILED,
      },
      {
        name: 'bun, no optional, compiler',
        install: 'bun add --omit=optional node-mora && bun pm trust node-mora',
        ends: COMPILED,
      },
    ],
  },
  tarball: {
    bare: [
      { name: 'npm', install: 'npm install /root/node-mora.tgz', ends: NO_TOOLS },
      {
        name: 'npm, no scripts',
        install: 'npm install --ignore-scripts /root/node-mora.tgz',
        ends: HELD_BACK('npm approve-scripts node-mora'),
      },
      { name: 'npm, MORA_BUILD=required', install: '! MORA_BUILD=required npm install /root/node-mora.tgz' },
    ],
    compiling: [
      { name: 'npm, compiler', install: 'npm install /root/node-mora.tgz', ends: COMPILED },
      {
        name: 'npm, no scripts, rebuild',
        install: 'npm install --ignore-scripts /root/node-mora.tgz && npm rebuild node-mora',
        ends: COMPILED,
      },
      {
        name: 'node-gyp',
        install: `npm install --ignore-scripts /root/node-mora.tgz && cd node_modules/node-mora &&
          node /usr/local/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js rebuild --nodedir=/opt/node && cd ../.. &&
          npx mora doctor --check`,
        ends: COMPILED,
      },
      {
        name: 'yarn, compiler',
        install: 'yarn add node-mora@file:/root/node-mora.tgz',
        project: { dependenciesMeta: { 'node-mora': { built: true } } },
        ends: COMPILED,
      },
    ],
  },
}

/**
 * Tries installations one after the other, each in a project of its own: those without a compiler, then the others. `environment`
 * has the variables of a registry, if it is not the one that npm is set to.
 */
export async function tryInstallations(steps, { system, inside }, { bare, compiling }, environment = {}) {
  const named = Object.values(managers).join(' ')
  await steps.run('package managers', inside(`npm install --global --no-audit --no-fund ${named}`))
  const registry =
    environment.npm_config_registry ??
    spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim()
  for (const each of bare)
    await tryOne(steps, { system, inside }, each, { ...environment, npm_config_registry: registry })
  const tools = 'cmake g++ make libeigen3-dev libdnnl-dev libhwy-dev python3'
  await steps.run(
    'compiler',
    inside(
      `apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${tools}`,
    ),
  )
  // node-gyp would download them.
  const headers = join(dirname(dirname(process.execPath)), 'include', 'node')
  if (existsSync(headers)) cpSync(headers, join(system, 'opt', 'node', 'include', 'node'), { recursive: true })
  for (const each of compiling)
    await tryOne(steps, { system, inside }, each, { ...environment, npm_config_registry: registry })
}

async function tryOne(steps, { system, inside }, { name, install, ends, project = {} }, environment) {
  const folder = `projects/${name.replaceAll(/[ ,=]+/g, '-')}`
  const place = join(system, 'root', folder)
  await steps.run('project', ['mkdir', '-p', place])
  const registry = environment.npm_config_registry
  const files = {
    'package.json': JSON.stringify({ name: 'project', private: true, type: 'module', ...project }),
    'train.js': TRAINING,
    '.npmrc': `registry=${registry}\n`,
    '.yarnrc.yml': `nodeLinker: node-modules
npmMinimalAgeGate: 0
enableImmutableInstalls: false
npmRegistryServer: "${registry}"
unsafeHttpWhitelist: ["127.0.0.1", "localhost"]
`,
    'yarn.lock': '',
  }
  for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), text)
  const started = performance.now()
  const run = (step, command) =>
    steps.run(`${name}: ${step}`, inside(command, { folder: `/root/${folder}`, environment }))
  await run('install', install)
  const seconds = Math.round((performance.now() - started) / 1000)
  if (ends) {
    const { output } = await run('train', 'node train.js')
    steps.require(ends.test(output), `${name}: expected ${ends}`)
  }
  steps.tell(`${name} in ${seconds} s`)
  await steps.run('remove', ['rm', '-rf', place])
}
