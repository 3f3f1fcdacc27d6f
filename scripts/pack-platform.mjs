/**
 * Lays out the packages to publish, each as a folder and as a tarball, in build/packages:
 *
 *     @node-mora/win32-x64        the addon of build-windows/Release, with MORA_BINARY=build-windows/Release/mora.node
 *     @node-mora/linux-x64        the addon of build-older/Release ("npm run build older"), and what has gloo connect ranks
 *     @node-mora/linux-x64-cuda   the CUDA backend beside it, where it was built
 *     node-mora                   this package, with every package of the folder as an optional dependency
 *
 *     npm run pack platform -- [--into FOLDER] [--folders] [--as-built] [--repository URL] [--homepage URL]
 *
 * Takes dist as it is; "npm run pack platform" makes it and the addon anew. Other platforms are packed into the folder before.
 * --folders leaves the tarballs out. MORA_BINARY names another addon. An addon that needs more than an old glibc is refused,
 * except with --as-built, which makes a package to try on this machine. --repository and --homepage go into the packages'
 * package.json, which otherwise has neither.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeLinked, linkedInto, writeLinkedLicences } from './packing/linked-in.mjs'
import { needsOf, oldestGlibc, requireLittle } from './packing/needs.mjs'
import { copy, fail, run, strip } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = parseArgs({
  options: {
    into: { type: 'string', default: join(root, 'build', 'packages') },
    folders: { type: 'boolean', default: false },
    'as-built': { type: 'boolean', default: false },
    repository: { type: 'string' },
    homepage: { type: 'string' },
  },
})
const into = resolve(options.into)
const scope = '@node-mora'
const origin = {
  ...(options.repository !== undefined && { repository: { type: 'git', url: options.repository } }),
  ...(options.homepage !== undefined && { homepage: options.homepage }),
}
const { version, license, engines } = read(join(root, 'package.json'))
const addon = process.env.MORA_BINARY ?? join(root, 'build-older', 'Release', 'mora.node')

if (!existsSync(addon)) fail(`Expected ${addon}; "npm run build older" builds it.`)
const { system, architecture } = needsOf(addon)
const platform = `${system}-${architecture}`
const runsOn =
  system === 'win32'
    ? 'Windows 10 or newer'
    : `glibc ${oldestGlibc} or newer (Debian 12,\nUbuntu 22.04, Red Hat Enterprise Linux 9)`
// The first backend is for drivers that support CUDA 13, the other for those that support CUDA 12.4 or newer.
const backends = ['mora_cuda.so', 'mora_cuda_12.so'].map((name) => join(dirname(addon), name)).filter(existsSync)
const gloo = join(dirname(addon), 'mora_gloo.so')
const binaries = existsSync(gloo) ? [addon, gloo] : [addon]
if (!options['as-built']) for (const path of [...binaries, ...backends]) requireLittle(path)
const packages = [packAddon()]
rmSync(join(into, scope, `${platform}-cuda`), { recursive: true, force: true })
if (backends.length > 0) packages.push(packCuda())
else console.error(`${scope}/${platform}-cuda is left out: ${join(dirname(addon), 'mora_cuda.so')} was not built.`)
packages.push(packMain())
for (const folder of packages) {
  if (!options.folders)
    run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], { cwd: folder })
  console.log(relative(process.cwd(), folder))
}

function packAddon() {
  const linked = linkedInto(addon)
  const folder = makeFolder(platform)
  writeLinkedLicences(linked, folder)
  const names = ['mora.node', basename(gloo)]
  return finish(
    folder,
    binaries.map((path, i) => copy(path, join(folder, names[i]))),
    {
      description: `The native addon of node-mora for ${platform}`,
      license: [...new Set([license, ...linked.map(({ licence }) => licence)])].join(' AND '),
      about: `The native addon of node-mora, with libraries linked into it, whose licences are in \`licences\`:

${describeLinked(linked)}`,
    },
  )
}

function packCuda() {
  const folder = makeFolder(`${platform}-cuda`)
  const binaries = backends.map((path) => copy(path, join(folder, basename(path))))
  return finish(folder, binaries, {
    description: `The CUDA backend of node-mora for ${platform}`,
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
  const optionalDependencies = Object.fromEntries(others.map(({ name }) => [name, version]))
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

function finish(folder, binaries, { about, ...description }) {
  for (const path of binaries) strip(path, platform)
  const described = {
    name: `${scope}/${basename(folder)}`,
    version,
    ...description,
    ...origin,
    main: basename(binaries[0]),
    engines,
    os: [system],
    cpu: [architecture],
    ...(system === 'linux' && { libc: ['glibc'] }),
  }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`)
  writeFileSync(
    join(folder, 'README.md'),
    `# ${described.name}

${about}

Install node-mora, which takes this package where it fits. It runs on ${runsOn}.
`,
  )
  copy(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  return folder
}
