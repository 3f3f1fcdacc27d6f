/**
 * Builds the native addon with CMake (through cmake-js) into build/Release/mora.node.
 *
 *   --debug                        into build/Debug
 *   --emulated                     only the CUDA backend that runs on the CPU: mora_cuda_emulated.so beside the addon
 *   --sanitize=address,undefined   into build-asan/RelWithDebInfo, with these sanitizers
 *   --sanitize=thread              into build-tsan/RelWithDebInfo
 *   --coverage                     into build-coverage/Debug, counting what runs (scripts/coverage.mjs)
 *   --older                        into build-older/Release, for older systems (scripts/sysroot), without the CUDA backend
 *   --arm64                        into build-arm64/Release, the same for Linux arm64 on another machine
 *                                  (scripts/check-arm64.mjs)
 *   --windows                      into build-windows/Release, for Windows x64 by MinGW (scripts/check-windows.mjs)
 *   --macos=arm64, --macos=x64     into build-macos-arm64/Release or build-macos-x64/Release, for macOS by zig
 *                                  (scripts/check-macos.mjs)
 *   --into=FOLDER                  into FOLDER/Release instead
 *   --if-needed                    does nothing if the result is newer than its sources
 *   --reason=CLAUSE                says why the addon is compiled
 *   --gyp-target='RUNTIME VERSION' says that node-gyp asked for another runtime (binding.gyp), which changes nothing
 *
 * Kernels are compiled for this machine's processor alone, with MORA_BUILD_PROCESSORS=all for all, as --older does. The CUDA
 * backend is built where a GPU is, or as MORA_BUILD_CUDA says: ON, OFF, or AUTO, where nvcc is found.
 * Products are oneDNN's, or with MORA_BUILD_PRODUCTS=blas those of the system's BLAS, as always on macOS.
 *
 * MORA_WARNINGS=error makes warnings of the compilers errors when the build is configured: for this project's CI, since
 * compilers to come will warn of more.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { commandThatInstalls, isEigenMissing, missingTools } from './build-tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const { values: options } = parseArgs({
  options: {
    debug: { type: 'boolean', default: false },
    emulated: { type: 'boolean', default: false },
    sanitize: { type: 'string' },
    coverage: { type: 'boolean', default: false },
    older: { type: 'boolean', default: false },
    arm64: { type: 'boolean', default: false },
    windows: { type: 'boolean', default: false },
    macos: { type: 'string' },
    into: { type: 'string' },
    'if-needed': { type: 'boolean', default: false },
    reason: { type: 'string' },
    'gyp-target': { type: 'string', default: '' },
  },
})

const { folder, configuration } = placeOf(options)
/** The architecture of the sysroot to build against; empty without one. */
const sysroot = options.arm64 ? 'arm64' : options.older ? process.arch : ''
/** What CMake is told of another system than this one; undefined for this one. */
const toolchain = options.windows
  ? join('scripts', 'windows', 'mingw.cmake')
  : options.macos
    ? join('scripts', 'macos', `${options.macos}.cmake`)
    : sysroot && join('scripts', 'sysroot', `${sysroot}.cmake`)
const binary = join(folder, configuration, options.emulated ? 'mora_cuda_emulated.so' : 'mora.node')
const cmakeFolder = join(folder, 'cmake', configuration)
/** Why this addon was not built, for the error of lib/native/binary.ts; without this file, it was built or nobody tried. */
const failureFile = join(folder, configuration, 'not-built.json')

/** The processor that an addon is compiled for, beside the addon; without this file, all. lib/native/processor.ts reads it. */
const processorFile = join(folder, configuration, 'processor.json')
const processor =
  toolchain || options.coverage || process.env.MORA_BUILD_PROCESSORS === 'all' ? undefined : thisProcessor()

if (options['if-needed'] && isUpToDate()) process.exit(0)
const [runtime, target] = options['gyp-target'].split(' ')
if (target) {
  console.error(
    `node-mora: the addon uses Node-API 9, which is the same in every version: ${runtime} ${target} changes nothing.`,
  )
}
try {
  mkdirSync(dirname(failureFile), { recursive: true })
  rmSync(failureFile, { force: true })
} catch (error) {
  giveUp(`${dirname(failureFile)} cannot be written (${error.code})`)
}
if (sysroot && !unpackSysroot()) giveUp('what it is linked with could not be had (see above)')
const missing = missingTools()
if (!canResolve('cmake-js/package.json')) giveUp('the package cmake-js, a dependency of node-mora, is not installed')
if (missing.length > 0) giveUp(notFound(missing), missing)
if (!toolchain && !options.emulated) announce()
// A failed configuration leaves a cache behind that must not be reused.
if (!isConfigured()) rmSync(join(cmakeFolder, 'CMakeCache.txt'), { force: true })
if (!runCMake('configure')) {
  if (isEigenMissing()) giveUp(notFound(['Eigen 3']), ['Eigen 3'])
  giveUp('CMake could not configure the build, as its output says')
}
if (!options.emulated) {
  // The processor is beside the addon at any moment.
  if (builtFor() !== (processor && JSON.stringify(processor))) rmSync(binary, { force: true })
  if (processor) writeFileSync(processorFile, JSON.stringify(processor))
  else rmSync(processorFile, { force: true })
}
if (!runCMake('build')) giveUp('compiling failed, as the output of CMake says')
const now = new Date()
utimesSync(binary, now, now)
if (options.sanitize)
  console.error(`Use it with MORA_BUILD_FOLDER=${folder} and the sanitizer's runtime in LD_PRELOAD.`)

/** Says what begins, and how long it takes with the system's oneDNN and Highway and without, as measured on Zen 4. */
function announce() {
  const cores = availableParallelism()
  const [least, most] = [150, 400].map((coreSeconds) => Math.ceil(coreSeconds / cores / 60))
  const why = options.reason ? ` (${options.reason})` : ''
  const time = `about ${least} to ${most} minutes on ${cores} ${cores > 1 ? 'cores' : 'core'}`
  console.error(`node-mora: compiling the native addon${why}, which takes ${time}.`)
}

/** @param {typeof options} given */
function placeOf({ debug, sanitize, coverage, older, arm64, windows, macos, into }) {
  if (coverage) return { folder: join(root, 'build-coverage'), configuration: 'Debug' }
  if (arm64) return { folder: join(root, 'build-arm64'), configuration: 'Release' }
  if (windows) return { folder: join(root, 'build-windows'), configuration: 'Release' }
  if (macos) return { folder: join(root, `build-macos-${macos}`), configuration: 'Release' }
  if (!sanitize) {
    const folder = into ? resolve(into) : join(root, older ? 'build-older' : 'build')
    return { folder, configuration: debug ? 'Debug' : 'Release' }
  }
  return { folder: join(root, sanitize === 'thread' ? 'build-tsan' : 'build-asan'), configuration: 'RelWithDebInfo' }
}

/** Returns the name and the flags of this processor; undefined if the system does not tell them. */
function thisProcessor() {
  if (!existsSync('/proc/cpuinfo')) return undefined
  const flags = /^(?:flags|Features)\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]
  return flags === undefined ? undefined : { name: cpus()[0].model.trim(), flags: flags.split(' ') }
}

function builtFor() {
  return existsSync(processorFile) ? readFileSync(processorFile, 'utf8') : undefined
}

function isUpToDate() {
  if (!existsSync(binary)) return false
  if (builtFor() !== (processor && JSON.stringify(processor))) return false
  const built = statSync(binary).mtimeMs
  const more = options.emulated ? [join('test', 'simt')] : toolchain ? [dirname(toolchain)] : []
  const folders = ['native', 'cmake', ...more]
  const sources = folders
    .flatMap((name) => readdirSync(join(root, name), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
  return [...sources, join(root, 'CMakeLists.txt')].every((source) => statSync(source).mtimeMs <= built)
}

function unpackSysroot() {
  const script = join(root, 'scripts', 'sysroot', 'unpack.sh')
  return spawnSync('bash', [script, sysroot], { stdio: ['ignore', 2, 2] }).status === 0
}

/** @param {string[]} things */
function notFound(things) {
  const listed = [things.slice(0, -1).join(', '), ...things.slice(-1)].filter(Boolean).join(' and ')
  return `${listed} ${things.length > 1 ? 'were' : 'was'} not found`
}

function canResolve(name) {
  try {
    return Boolean(createRequire(import.meta.url).resolve(name))
  } catch {
    return false
  }
}

function isConfigured() {
  return ['Makefile', 'build.ninja'].some((file) => existsSync(join(cmakeFolder, file)))
}

function runCMake(step) {
  const jobs = process.env.MORA_JOBS ?? availableParallelism()
  const cmakeJs = join(dirname(createRequire(import.meta.url).resolve('cmake-js/package.json')), 'bin', 'cmake-js')
  const variables = {
    CMAKE_LIBRARY_OUTPUT_DIRECTORY: dirname(binary),
    MORA_SANITIZE: options.sanitize ?? '',
    MORA_COVERAGE: options.coverage ? 'ON' : 'OFF',
    ...(options.emulated && { MORA_EMULATED: 'ON' }),
    ...(toolchain && { CMAKE_TOOLCHAIN_FILE: join(root, toolchain) }),
    // For other systems, npm run build cuda builds it.
    MORA_CUDA: process.env.MORA_BUILD_CUDA || (hasGpu() && !toolchain ? 'AUTO' : 'OFF'),
    ...(process.env.MORA_WARNINGS === 'error' && { CMAKE_COMPILE_WARNING_AS_ERROR: 'ON' }),
    ...(process.env.MORA_BUILD_PRODUCTS && { MORA_PRODUCTS: process.env.MORA_BUILD_PRODUCTS }),
    MORA_PROCESSOR: processor?.name ?? '',
  }
  const child = spawnSync(
    process.execPath,
    [
      cmakeJs,
      step,
      `--directory=${root}`,
      `--out=${cmakeFolder}`,
      `--config=${configuration}`,
      ...(options.emulated && step === 'build' ? ['--target=mora_cuda_emulated'] : []),
      '--log-level=error',
      ...Object.entries(variables).map(([name, value]) => `--CD${name}=${value}`),
    ],
    { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, CMAKE_BUILD_PARALLEL_LEVEL: String(jobs) } },
  )
  return child.status === 0
}

/** Whether NVIDIA's driver is loaded, or that of Windows under WSL. */
function hasGpu() {
  return ['/dev/nvidiactl', '/dev/nvhost-gpu', '/dev/dxg'].some((device) => existsSync(device))
}

/**
 * @param {string} problem a clause
 * @param {import('./build-tools.mjs').Tool[]} tools which are missing
 */
function giveUp(problem, tools = []) {
  const what = options.emulated ? 'the CUDA backend for the emulator' : 'the native addon'
  const isCheckout = existsSync(join(root, 'lib'))
  const install = isCheckout && tools.length > 0 ? 'npm run setup' : commandThatInstalls(tools)
  const build = isCheckout ? 'npm run build native' : 'npx node-mora build'
  const remedy = install === null ? build : `${install} && ${build}`
  console.error(`node-mora: ${what} was not built: ${problem}. To build it: ${remedy}`)
  try {
    if (!options.emulated) writeFileSync(failureFile, JSON.stringify({ problem, remedy }))
  } catch {} // The folder cannot be written, which is the problem.
  process.exit(1)
}
