/** Builds the CUDA backend alone with a given toolkit; needs nothing of the addon's build. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
/** The folder of CUDA 12.4; see toolkit-12.sh. */
export const toolkit12 = join(root, 'build', 'toolkit')
/** The folder of NCCL beside it, with include and lib. */
export const nccl = join(toolkit12, 'nccl')
/** nvcc 12.4 refuses newer compilers. */
const newestGccOf12 = 13

/**
 * Returns null, or why CUDA 12.4 is unavailable here. Downloads it at the first call, and installs a compiler that it accepts.
 */
export function fetchToolkit12() {
  const { status, stderr } = spawnSync('bash', [join(root, 'scripts', 'toolkit', 'toolkit-12.sh'), toolkit12], {
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  if (status !== 0) return stderr.trim().split('\n').at(-1)
  if (!compilerOf12()) spawnSync('bash', [join(root, 'scripts', 'setup.sh'), '--toolkit'], { stdio: ['ignore', 2, 2] })
  return compilerOf12() ? null : `nvcc 12.4 needs GCC ${newestGccOf12} or older: apt-get install g++-13`
}

/** Returns a C++ compiler that nvcc 12.4 accepts, or null. */
function compilerOf12() {
  const majorOf = (compiler) => {
    const { status, stdout } = spawnSync(compiler, ['-dumpversion'], { encoding: 'utf8' })
    return status === 0 ? Number.parseInt(stdout, 10) : Number.POSITIVE_INFINITY
  }
  return ['g++', 'g++-13', 'g++-12'].find((compiler) => majorOf(compiler) <= newestGccOf12) ?? null
}

/**
 * Builds mora_cuda.so into `folder` and returns its path; throws if the build fails. `toolkit` is the toolkit's folder, by
 * default that of this machine's own. `variables` are CMake's.
 * @param {{ folder: string, toolkit?: string, variables?: Record<string, string> }} what
 */
export function buildBackend({ folder, toolkit, variables = {} }) {
  const ofToolkit = toolkit && {
    CUDAToolkit_ROOT: toolkit,
    CMAKE_CUDA_COMPILER: join(toolkit, 'bin', 'nvcc'),
    CMAKE_CUDA_HOST_COMPILER: compilerOf12(),
    CMAKE_CXX_COMPILER: compilerOf12(),
  }
  const settings = Object.entries({ CMAKE_BUILD_TYPE: 'Release', ...ofToolkit, ...variables })
  const flags = settings.map(([name, value]) => `-D${name}=${value}`)
  const generator = spawnSync('ninja', ['--version']).status === 0 ? ['-G', 'Ninja'] : []
  cmake('-S', join(root, 'native', 'cuda'), '-B', folder, ...generator, ...flags)
  cmake('--build', folder, '--parallel', process.env.MORA_JOBS ?? '2', '--target', 'mora_cuda')
  const library = join(folder, 'mora_cuda.so')
  if (!existsSync(library)) throw new Error(`The build in ${folder} made no mora_cuda.so.`)
  return library
}

function cmake(...commandArguments) {
  const { status } = spawnSync('cmake', commandArguments, { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`cmake ${commandArguments[0]} failed (see above)`)
}
