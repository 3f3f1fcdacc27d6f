/**
 * Lays out what is published, each as a folder and as the tarball of it, in build/packages:
 *
 *     @node-mora/linux-x64        the addon of build/Release with the libraries that a machine may lack
 *     @node-mora/linux-x64-cuda   the CUDA backend beside it, where it was built
 *     node-mora                   this package, with every package of the folder as an optional dependency
 *
 *     npm run pack:platform -- [--into FOLDER] [--folders] [--sysroot FOLDER]
 *
 * Takes dist as it is; "npm run pack:platform" makes it anew. Other platforms are packed into the folder before. --folders
 * leaves the tarballs out. MORA_BINARY names another addon; one for arm64 has its libraries in the folder of --sysroot
 * (arm64/setup.sh) where this machine has another processor.
 * Binaries are lowered to an older glibc and libstdc++ (packing/older-libraries.mjs).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ElfFile } from './packing/elf.mjs'
import { describePackages, licenceOf, writeLicences } from './packing/licences.mjs'
import { describeLinked, linkedInto, writeLinkedLicences } from './packing/linked-in.mjs'
import { lower, oldestGlibc } from './packing/older-libraries.mjs'
import { copy, copyLibraries, fail, neededLibraries, run, strip } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = parseArgs({
  options: {
    into: { type: 'string', default: join(root, 'build', 'packages') },
    folders: { type: 'boolean', default: false },
    sysroot: { type: 'string' },
  },
})
const into = resolve(options.into)
const scope = '@node-mora'
const { version, license, engines } = read(join(root, 'package.json'))
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
const cuda = join(dirname(addon), 'mora_cuda.so')

if (!existsSync(addon)) fail(`Expected ${addon}; "npm run build:native" builds it.`)
const { architecture } = new ElfFile(addon)
const platform = `${process.platform}-${architecture}`
const sysroot = options.sysroot ? realpathSync(options.sysroot) : ''
if (!sysroot && architecture !== process.arch)
  fail(`Expected --sysroot with the libraries of ${addon}, which is for ${architecture} and this machine is not.`)
const packages = [packAddon()]
rmSync(join(into, scope, `${platform}-cuda`), { recursive: true, force: true })
if (existsSync(cuda)) packages.push(packCuda())
else console.error(`${scope}/${platform}-cuda is left out: ${cuda} was not built.`)
packages.push(packMain())
for (const folder of packages) {
  if (!options.folders)
    run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], { cwd: folder })
  console.log(relative(process.cwd(), folder))
}

function packAddon() {
  // Node.js itself needs the C++ library, so every machine has one, and only one can be loaded.
  const libraries = neededLibraries([addon], (name) => /^lib(stdc\+\+|gcc_s)\./.test(name), sysroot)
  const linked = linkedInto(addon)
  const licences = [...[...libraries.keys()].map(licenceOf), ...linked.map(({ licence }) => licence)]
  const folder = makeFolder(platform)
  const binaries = [copy(addon, join(folder, 'mora.node')), ...copyLibraries(libraries, folder)]
  writeLicences(libraries, folder, sysroot)
  writeLinkedLicences(linked, folder)
  return finish(folder, binaries, {
    description: `The native addon of node-mora for ${platform}`,
    license: [...new Set([license, ...licences])].join(' AND '),
    about: `The native addon of node-mora, and libraries that it needs, taken from
packages of Debian, whose sources are there, or built from their own; their licences are in \`licences\`:

${describePackages(libraries, sysroot)}
${describeLinked(linked)}`,
  })
}

function packCuda() {
  const folder = makeFolder(`${platform}-cuda`)
  // The first is for drivers for CUDA 13, the other for those for CUDA 12.4 or newer.
  const backends = [cuda, join(dirname(cuda), 'mora_cuda_12.so')].filter(existsSync)
  const binaries = backends.map((path) => copy(path, join(folder, basename(path))))
  return finish(folder, binaries, {
    description: `The CUDA backend of node-mora for ${platform}`,
    license: 'SEE LICENSE IN README.md',
    about: `The CUDA backend of node-mora, under the Apache License 2.0 (LICENSE). It contains
NVIDIA's CUDA runtime library (libcudart_static), which NVIDIA's CUDA Toolkit End User License Agreement allows to pass on
as part of an application. It needs an NVIDIA driver and cuBLAS 12 or 13, which it opens when it is used.`,
  })
}

/** This package as npm packs it, so that what is published is what "npm pack" holds, and the optional dependencies. */
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
  const described = { ...read(path), optionalDependencies }
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
  for (const path of binaries) {
    strip(path)
    lower(path)
  }
  const described = {
    name: `${scope}/${basename(folder)}`,
    version,
    ...description,
    main: basename(binaries[0]),
    engines,
    os: [process.platform],
    cpu: [architecture],
    libc: ['glibc'],
  }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`)
  writeFileSync(
    join(folder, 'README.md'),
    `# ${described.name}

${about}

Install node-mora, which takes this package where it fits. It runs with glibc ${oldestGlibc} and libstdc++ of GCC 12, or newer
(Debian 12, Ubuntu 22.04): binaries are stripped, and bound to the oldest versions of functions that do the same.
`,
  )
  copy(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  return folder
}
