/**
 * Checks the CUDA backend against real toolkits, on a machine without a GPU: headers, compilers, cuBLAS and NCCL themselves,
 * and the messages for an absent or old driver. CUDA 12.4 is fetched once, from Debian's packages, into build/toolkit (1.6 GB);
 * the toolkit of this machine's nvcc is checked as well, as far as it goes. Needs npm run build. Ends with 1 if something is
 * wrong; if the packages are unavailable, says that the check is skipped and ends with 0.
 *
 *     npm run check toolkit
 *
 * The kernels are compiled for one architecture (CUDAARCHS names others): npm run build cuda compiles for all.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBackend, fetchToolkit12, nccl, toolkit12 } from './toolkit/backend.mjs'
import { checkDrivers } from './toolkit/drivers.mjs'
import { checkCublasHeader, checkNcclHeader } from './toolkit/headers.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const addon = join(root, 'build', 'Release', 'mora.node')
const own = join(root, 'build', 'Release', 'mora_cuda.so')
let wrong = 0

const missing = fetchToolkit12()
if (missing) skip(missing)
if (!existsSync(addon)) throw new Error(`Expected ${addon}; "npm run build" builds it.`)

const folder = mkdtempSync(join(tmpdir(), 'mora-toolkit-'))
try {
  for (const [name, include] of includeFolders()) {
    const checks = checkCublasHeader([include])
    if (checks.length === 0) console.log(`- ${name}: it has no header of cuBLAS, nothing is compared`)
    report(name, checks)
  }
  report('CUDA 12.4', [['libcublas.so.12 is opened', openedCublas()]])
  report('NCCL', checkNcclHeader([join(toolkit12, 'include'), join(nccl, 'include')]))
  report('NCCL', [['libnccl.so.2 is opened', openedNccl()]])
  const backend12 = compiled12()
  if (backend12) report('CUDA 12.4', drivers({ 'mora_cuda.so': backend12 }, '12.4'))
  if (existsSync(own)) {
    report('this nvcc', drivers({ 'mora_cuda.so': own }, ownVersion()))
    if (backend12) report('both', drivers({ 'mora_cuda.so': own, 'mora_cuda_12.so': backend12 }, '12.4'))
  }
} finally {
  rmSync(folder, { recursive: true })
}
if (wrong > 0) console.error(`npm run check toolkit: ${wrong} of what was checked is wrong (see above).`)
process.exitCode = wrong > 0 ? 1 : 0

function skip(why) {
  console.log(`npm run check toolkit: skipped: ${why}`)
  process.exit(0)
}

function report(name, checks) {
  for (const [what, problem] of checks) {
    console.log(`${problem ? '✗' : '✓'} ${name}: ${what}`)
    if (!problem) continue
    wrong++
    console.error(problem)
  }
}

/** Headers of CUDA 12.4, and of this machine's nvcc. */
function includeFolders() {
  const folders = [['CUDA 12.4', join(toolkit12, 'include')]]
  // Commands that nvcc prints begin with the folder of its installation.
  const { stderr } = spawnSync('nvcc', ['--dryrun', '-x', 'cu', '/dev/null'], { encoding: 'utf8' })
  const top = /^#\$ TOP=(.+)$/m.exec(stderr ?? '')?.[1]
  if (top) folders.push([`CUDA ${ownVersion()}`, join(top, 'include')])
  return folders
}

function ownVersion() {
  const { stdout } = spawnSync('nvcc', ['--version'], { encoding: 'utf8' })
  return /release (\d+\.\d+)/.exec(stdout ?? '')?.[1] ?? ''
}

function openedCublas() {
  return probed(['scripts/toolkit/probe.cpp', 'native/cuda/products/cublas.cpp'], {
    MORA_CUBLAS: join(toolkit12, 'lib64'),
  })
}

function openedNccl() {
  return probed(['scripts/toolkit/nccl-probe.cpp', 'native/ranks/nccl_library.cpp'], { MORA_NCCL: join(nccl, 'lib') })
}

/** Returns null, or why a program of these sources does not compile or fails. */
function probed(sources, variables) {
  const probe = join(folder, 'probe')
  const built = spawnSync(
    process.env.CXX ?? 'c++',
    [
      ...['-std=c++20', '-Inative', '-isystem', join(toolkit12, 'include'), ...sources],
      'native/core/libraries/nvidia_folders.cpp',
      'native/core/system/posix/libraries.cpp',
      '-ldl',
      '-o',
      probe,
    ],
    { cwd: root, encoding: 'utf8' },
  )
  if (built.status !== 0) return built.stderr
  const env = { ...process.env, ...variables }
  const { status, stdout, stderr } = spawnSync(probe, { encoding: 'utf8', env })
  if (status !== 0) return stderr || stdout || `it ended with ${status}`
  console.log(`  ${stdout.trim()}`)
  return null
}

/** Compiles the backend with nvcc 12.4 and warnings as errors; returns null if that fails. */
function compiled12() {
  process.env.CUDAARCHS ??= '80-real'
  const variables = { CMAKE_COMPILE_WARNING_AS_ERROR: 'ON' }
  try {
    const library = buildBackend({ folder: join(root, 'build', 'toolkit-backend'), toolkit: toolkit12, variables })
    report('CUDA 12.4', [['every source of native/cuda compiles without a warning', null]])
    return library
  } catch (error) {
    report('CUDA 12.4', [['every source of native/cuda compiles without a warning', error.message]])
    return null
  }
}

function drivers(backends, needed) {
  return checkDrivers({ folder, addon, backends, needed })
}
