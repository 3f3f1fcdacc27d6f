/**
 * Makes build/gpu-pack/mora-gpu-check and a .tar of it: the GPU check for a Linux machine with nothing but NVIDIA's driver,
 * cuBLAS and glibc 2.35 or newer. Node.js, the addon, the CUDA backend and the libraries that they need are those of
 * this machine, stripped, and bound to an old glibc (packing/older-libraries.mjs). There: `sh mora-gpu-check/run.sh`.
 *
 *     npm run pack:gpu -- [--into FOLDER] [--emulated]
 *
 * --emulated packs the backend for the emulator instead, to try the pack without a GPU.
 */
import { cpSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compileReplacements, replaced } from './gpu-pack/newer-glibc.mjs'
import { addPredictions } from './gpu-pack/predictions.mjs'
import { stage } from './gpu-pack/stage.mjs'
import { lower, oldestGlibc } from './packing/older-libraries.mjs'
import { copy, copyLibraries, fail, neededLibraries, run, strip } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = parseArgs({
  options: {
    into: { type: 'string', default: join(root, 'build', 'gpu-pack') },
    emulated: { type: 'boolean', default: false },
  },
})
const largest = 40 * 2 ** 20
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
const backend = join(dirname(addon), options.emulated ? 'mora_cuda_emulated.so' : 'mora_cuda.so')
const kernelTests = join(root, 'build', 'cmake', 'Release', 'gpu_kernel_tests')

for (const [path, command] of [
  [addon, 'build:native'],
  [backend, options.emulated ? 'build:emulated' : 'build:native'],
]) {
  if (!existsSync(path))
    fail(`Expected ${path}; "npm run ${command}" builds it${options.emulated ? '' : ' where nvcc is found'}.`)
}

const into = resolve(options.into)
const pack = join(into, 'mora-gpu-check')
const files = join(into, 'files')
rmSync(pack, { recursive: true, force: true })
mkdirSync(join(pack, 'unpack'), { recursive: true })

stage(files)
if (!options.emulated) addPredictions(files, addon)
for (const name of ['bin', 'native', 'libraries']) mkdirSync(join(files, name))
const programs = [
  copy(process.execPath, join(files, 'bin', 'node')),
  copy(addon, join(files, 'native', 'mora.node')),
  copy(backend, join(files, 'native', basename(backend))),
]
if (!options.emulated) {
  run('npm', ['run', '--silent', 'build:gpu-tests'], { cwd: root, stdio: ['ignore', 2, 2] })
  programs.push(copy(kernelTests, join(files, 'native', 'gpu_kernel_tests')))
}
for (const path of programs) strip(path)
const libraries = copyLibraries(neededLibraries([process.execPath, addon, backend]), join(files, 'libraries'))
for (const path of libraries) strip(path)
const lowered = new Map([...programs, ...libraries].map((path) => [basename(path), lower(path, replaced)]))
compileReplacements(join(files, 'libraries', 'libnewer-glibc.so'))
lower(join(files, 'libraries', 'libnewer-glibc.so'))

// The machine may have no xz.
const xz = run('sh', ['-c', 'command -v xz']).trim()
const unpacker = [copy(xz, join(pack, 'unpack', 'xz')), ...copyLibraries(neededLibraries([xz]), join(pack, 'unpack'))]
for (const path of unpacker) lowered.set(basename(path), lower(path, replaced))
copy(join(files, 'libraries', 'libnewer-glibc.so'), join(pack, 'unpack', 'libnewer-glibc.so'))
cpSync(join(root, 'scripts', 'gpu-pack', 'run.sh'), join(pack, 'run.sh'))

// Kernels' tests hold the backend's kernels too: in one window, without a filter that moves with the place, they are stored once.
const kernels = programs.slice(2).map((path) => relative(files, path))
compress('kernels', [], kernels)
// Golden data is numbers of 4 bytes, of which a place tells more than what stands before it.
compress('golden', ['lc=1', 'lp=2', 'pb=2'], ['test/golden'])
const rest = [...kernels, 'test/golden'].map((name) => `--exclude=./${name}`)
compress('files', [], [...rest, '.'], process.arch === 'x64' ? '--x86' : '')
rmSync(files, { recursive: true })
const tar = `${pack}.tar`
run('tar', ['-C', into, '-cf', tar, basename(pack)])

const bytes = statSync(tar).size
for (const [name, symbols] of lowered)
  if (symbols.length > 0) console.log(`${name}: stood in for ${symbols.join(', ')}`)
console.log(`${tar}: ${(bytes / 2 ** 20).toFixed(1)} MiB; runs on glibc ${oldestGlibc} or newer, with run.sh`)
if (bytes > largest) fail(`The pack is larger than ${largest / 2 ** 20} MiB.`)

function compress(name, lzma, tarArguments, filter = '') {
  const method = ['preset=9e', 'dict=128MiB', ...lzma].join(',')
  const pipe = `tar -C "$1" --sort=name -cf - "\${@:3}" | xz ${filter} --lzma2=${method} > "$2"`
  const archive = join(pack, `${name}.tar.xz`)
  run('bash', ['-o', 'pipefail', '-c', pipe, 'bash', files, archive, ...tarArguments])
}
