/**
 * Makes build/gpu-pack/mora-gpu-check and a .tar of it: the GPU check for a Linux machine with nothing but NVIDIA's driver,
 * cuBLAS, glibc 2.34 or newer and GCC's C++ library. The addon and the CUDA backend are built for older systems (sysroot), and
 * Node.js is npm's. There: `sh mora-gpu-check/run.sh`.
 *
 *     npm run pack gpu -- [--into FOLDER] [--emulated]
 *
 * --emulated packs the backend for the emulator instead, and the addon of build/Release, to try the pack on this machine.
 */
import { cpSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { addPredictions } from './gpu-pack/predictions.mjs'
import { stage } from './gpu-pack/stage.mjs'
import { oldestGlibc, requireLittle } from './packing/needs.mjs'
import { copy, fail, run, strip } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = parseArgs({
  options: {
    into: { type: 'string', default: join(root, 'build', 'gpu-pack') },
    emulated: { type: 'boolean', default: false },
  },
})
const build = join(root, 'build', 'gpu-pack', 'build')
const kernelTests = join(build, 'cmake', 'Release', 'gpu_kernel_tests')
const largest = 40 * 2 ** 20
const into = resolve(options.into)
const pack = join(into, 'mora-gpu-check')
const files = join(into, 'files')
const local = join(root, 'build', 'Release')
const addon = options.emulated ? (process.env.MORA_BINARY ?? join(local, 'mora.node')) : buildForOlder()
const backend = join(dirname(addon), options.emulated ? 'mora_cuda_emulated.so' : 'mora_cuda.so')
for (const path of [addon, backend])
  if (!existsSync(path)) fail(`Expected ${path}; "npm run build emulated" builds it.`)

rmSync(pack, { recursive: true, force: true })
mkdirSync(join(pack, 'unpack'), { recursive: true })

stage(files)
if (!options.emulated) addPredictions(files, join(local, 'mora.node'))
for (const name of ['bin', 'native']) mkdirSync(join(files, name))
const node = copy(nodeOfNpm(), join(files, 'bin', 'node'))
const own = [copy(addon, join(files, 'native', 'mora.node')), copy(backend, join(files, 'native', basename(backend)))]
if (!options.emulated) own.push(copy(kernelTests, join(files, 'native', 'gpu_kernel_tests')))
for (const path of [node, ...own]) strip(path)

// The machine may have no xz.
run('bash', [join(root, 'scripts', 'sysroot', 'unpack.sh'), process.arch], { stdio: ['ignore', 2, 2] })
const unpacker = ['usr/bin/xz', `lib/${{ x64: 'x86_64', arm64: 'aarch64' }[process.arch]}-linux-gnu/liblzma.so.5`].map(
  (name) => copy(join(root, 'build', 'sysroot', process.arch, name), join(pack, 'unpack', basename(name))),
)
for (const path of unpacker) requireLittle(path, /^(liblzma|XZ_)/)
requireLittle(node, /^(libstdc\+\+|GLIBCXX_|CXXABI_)/)
if (!options.emulated) for (const path of own) requireLittle(path)
cpSync(join(root, 'scripts', 'gpu-pack', 'run.sh'), join(pack, 'run.sh'))

// The kernels' tests contain the backend's kernels too: in one window, and without a position-dependent filter, they are
// compressed into one copy.
const kernels = own.slice(1).map((path) => relative(files, path))
compress('kernels', [], kernels)
// Golden data is 4-byte numbers, which the position within the number predicts better than the preceding bytes.
compress('golden', ['lc=1', 'lp=2', 'pb=2'], ['test/golden'])
const rest = [...kernels, 'test/golden'].map((name) => `--exclude=./${name}`)
compress('files', [], [...rest, '.'], process.arch === 'x64' ? '--x86' : '')
rmSync(files, { recursive: true })
const tar = `${pack}.tar`
run('tar', ['-C', into, '-cf', tar, basename(pack)])

const bytes = statSync(tar).size
console.log(`${tar}: ${(bytes / 2 ** 20).toFixed(1)} MiB; runs on glibc ${oldestGlibc} or newer, with run.sh`)
if (bytes > largest) fail(`The pack is larger than ${largest / 2 ** 20} MiB.`)

function compress(name, lzma, tarArguments, filter = '') {
  const method = ['preset=9e', 'dict=128MiB', ...lzma].join(',')
  const pipe = `tar -C "$1" --sort=name -cf - "\${@:3}" | xz ${filter} --lzma2=${method} > "$2"`
  const archive = join(pack, `${name}.tar.xz`)
  run('bash', ['-o', 'pipefail', '-c', pipe, 'bash', files, archive, ...tarArguments])
}

/** Builds the addon, the backend and the kernels' tests for an older system, and returns the addon. */
function buildForOlder() {
  const script = join(root, 'scripts', 'build-native.mjs')
  const environment = { env: { ...process.env, MORA_BUILD_CUDA: 'ON' } }
  run(process.execPath, [script, '--older', `--into=${build}`], environment)
  run('cmake', ['--build', dirname(kernelTests), '--parallel', '2', '--target', 'gpu_kernel_tests'], {
    stdio: ['ignore', 2, 2],
  })
  return join(build, 'Release', 'mora.node')
}

/** Node.js from npm: this machine's own may need a newer glibc. */
function nodeOfNpm() {
  const name = `node-linux-${process.arch}`
  run('npm', ['install', '--no-save', '--silent', '--prefix', join(into, 'node'), `${name}@22`])
  return join(into, 'node', 'node_modules', name, 'bin', 'node')
}
