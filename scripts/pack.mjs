/**
 * Lays out the packages of a release, each as a folder and as a tarball, in build/packages:
 *
 *     @node-mora/linux-x64        the addon of a platform (packing/platforms.mjs has them all), and what connects ranks
 *     @node-mora/linux-x64-cuda   the CUDA backend beside it, where it was built
 *     node-mora                   this package, with each platform's package of the folder as an optional dependency
 *
 *     npm run pack -- [--only linux-x64,…] [--into FOLDER] [--folders] [--as-built] [--repository URL] [--homepage URL]
 *
 * Packs every platform whose addon was built, and takes dist as it is; "npm run pack" makes dist and this machine's addon anew.
 * --folders leaves the tarballs out. MORA_BINARY names another addon of --only, or of this machine. An addon that needs more than
 * an old system has is refused, except with "node scripts/pack.mjs --as-built", which packs the addon of "npm run build" to try it
 * on this machine. --repository and --homepage go into the packages' package.json, which otherwise has neither.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { describeLinked, linkedInto, writeLinkedLicences } from './packing/linked-in.mjs'
import { platforms } from './packing/platforms.mjs'
import { copy, fail, run } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = orUsageError(() =>
  parseArgs({
    options: {
      only: { type: 'string' },
      into: { type: 'string', default: join(root, 'build', 'packages') },
      folders: { type: 'boolean', default: false },
      'as-built': { type: 'boolean', default: false },
      repository: { type: 'string' },
      homepage: { type: 'string' },
    },
  }),
)
const into = resolve(options.into)
const scope = '@node-mora'
const origin = {
  ...(options.repository !== undefined && { repository: { type: 'git', url: options.repository } }),
  ...(options.homepage !== undefined && { homepage: options.homepage }),
}
const { version, license, engines } = read(join(root, 'package.json'))

const own = `${process.platform}-${process.arch}`
const names = Object.keys(platforms)
const wanted = orUsageError(() => someOf('only', options.only ?? (process.env.MORA_BINARY ? own : names.join()), names))
const folderOf = (name) => (options['as-built'] && name === own ? join('build', 'Release') : platforms[name].folder)
const addonOf = (name) => process.env.MORA_BINARY ?? join(root, folderOf(name), 'mora.node')
const built = wanted.filter((name) => existsSync(addonOf(name)))
for (const name of wanted.filter((each) => !built.includes(each)))
  console.error(`${scope}/${name} is left out: "${platforms[name].build}" was not run.`)
if (built.length === 0) fail(`Expected ${addonOf(wanted[0])}; "${platforms[wanted[0]].build}" builds it.`)

const packages = [...built.flatMap(packPlatform), packMain()]
for (const folder of packages) {
  if (!options.folders)
    run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], { cwd: folder })
  console.log(relative(process.cwd(), folder))
}

/** Lays out a platform's packages. */
function packPlatform(name) {
  const addon = addonOf(name)
  const platform = platforms[name]
  const thereOf = (files) => files.map((file) => join(dirname(addon), file)).filter(existsSync)
  const [beside, backends] = [thereOf(platform.beside), thereOf(platform.cuda)]
  if (!options['as-built']) for (const path of [addon, ...beside, ...backends]) platform.requireLittle(path)
  rmSync(join(into, scope, `${name}-cuda`), { recursive: true, force: true })
  if (backends.length === 0 && platform.cuda.length > 0)
    console.error(`${scope}/${name}-cuda is left out: ${join(dirname(addon), platform.cuda[0])} was not built.`)
  return [packAddon(name, addon, beside), ...(backends.length > 0 ? [packCuda(name, backends)] : [])]
}

function packAddon(name, addon, beside) {
  const linked = linkedInto(addon)
  const folder = makeFolder(name)
  writeLinkedLicences(linked, folder)
  const binaries = [
    copy(addon, join(folder, 'mora.node')),
    ...beside.map((path) => copy(path, join(folder, basename(path)))),
  ]
  return finish(folder, platforms[name], binaries, {
    description: `The native addon of node-mora for ${name}`,
    license: [...new Set([license, ...linked.map(({ licence }) => licence)])].join(' AND '),
    about: `The native addon of node-mora, with libraries linked into it, whose licences are in \`licences\`:

${describeLinked(linked)}`,
  })
}

function packCuda(name, backends) {
  const folder = makeFolder(`${name}-cuda`)
  const binaries = backends.map((path) => copy(path, join(folder, basename(path))))
  return finish(folder, platforms[name], binaries, {
    description: `The CUDA backend of node-mora for ${name}`,
    license: 'SEE LICENSE IN README.md',
    about: `The CUDA backend of node-mora, under the Apache License 2.0 (LICENSE). It contains
NVIDIA's CUDA runtime library (libcudart_static), which NVIDIA's CUDA Toolkit End User License Agreement allows to pass on
as part of an application. It needs an NVIDIA driver and cuBLAS 12 or 13, which it opens when it is used.`,
  })
}

/** This package as "npm pack" packs it, with the optional dependencies added. */
function packMain() {
  const tarball = join(
    into,
    run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], { cwd: root }).trim(),
  )
  const folder = join(into, 'node-mora')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  run('tar', ['-xzf', tarball, '-C', folder, '--strip-components=1'])
  rmSync(tarball)
  const path = join(folder, 'package.json')
  const others = readdirSync(join(into, scope)).map((name) => read(join(into, scope, name, 'package.json')))
  const other = others.find((each) => each.version !== version)
  if (other) fail(`${other.name} in ${into} is of version ${other.version}; expected ${version}.`)
  // The CUDA backends, many times as large, are installed where there is a GPU: mora doctor names the command.
  const small = others.map(({ name }) => name).filter((name) => !name.endsWith('-cuda'))
  const optionalDependencies = Object.fromEntries(small.map((name) => [name, version]))
  const described = { ...read(path), ...origin, optionalDependencies }
  writeFileSync(path, `${JSON.stringify(described, null, 2)}\n`)
  return folder
}

function read(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function makeFolder(name) {
  const folder = join(into, scope, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  return folder
}

function finish(folder, { strip, described: where, runsOn }, binaries, { about, ...description }) {
  for (const path of binaries) strip(path)
  const described = {
    name: `${scope}/${basename(folder)}`,
    version,
    ...description,
    ...origin,
    main: basename(binaries[0]),
    engines,
    ...where,
  }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`)
  writeFileSync(
    join(folder, 'README.md'),
    `# ${described.name}

${about}

Install node-mora, which takes this package where it fits. It runs ${runsOn}.
`,
  )
  copy(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  return folder
}
