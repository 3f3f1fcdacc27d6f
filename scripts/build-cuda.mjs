/**
 * Builds the CUDA backend as it is published, with code for every kind of GPU and for older systems (sysroot): mora_cuda.so
 * with this machine's nvcc, and mora_cuda_12.so with CUDA 12.4, for drivers from r550 on, which it downloads where this machine
 * has Debian's packages. Writes both into build-older/Release, beside the addon of "npm run build older"; the driver decides
 * which is used. Takes about half an hour on two cores.
 *
 *     npm run build cuda
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBackend, fetchToolkit12, toolkit12 } from './toolkit/backend.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const older = join(root, 'build-older')
const release = join(older, 'Release')
const sysroot = join(root, 'scripts', 'sysroot')
const variables = { MORA_CUDA_EVERY_GPU: 'ON', CMAKE_TOOLCHAIN_FILE: join(sysroot, `${process.arch}.cmake`) }
mkdirSync(release, { recursive: true })
const unpacked = spawnSync('bash', [join(sysroot, 'unpack.sh'), process.arch], { stdio: ['ignore', 2, 2] })
if (unpacked.status !== 0) process.exit(1)

if (spawnSync('nvcc', ['--version']).error) console.error('mora_cuda.so is left out: there is no nvcc here')
else put(buildBackend({ folder: join(older, 'cuda'), variables }), 'mora_cuda.so')
const missing = fetchToolkit12()
if (missing) console.error(`mora_cuda_12.so is left out: ${missing}`)
else put(buildBackend({ folder: join(older, 'cuda-12'), toolkit: toolkit12, variables }), 'mora_cuda_12.so')

function put(library, name) {
  copyFileSync(library, join(release, name))
  console.log(join(release, name))
}
