/** The platforms that have a package, and what is particular to each. */
import { join } from 'node:path'
import { oldestMacos, requireMacos } from './mach-o.mjs'
import { oldestGlibc, requireLittle } from './needs.mjs'
import { strip } from './tools.mjs'

/**
 * @typedef {object} Platform
 * @property {string} folder where the build puts the addon, from the repository's root
 * @property {string} build the command that builds it
 * @property {string[]} beside files that the package has beside the addon, where they were built
 * @property {string[]} cuda files of the package with the CUDA backend, where they were built; the first is the main one
 * @property {{ os: string[], cpu: string[], libc?: string[] }} described where npm installs the package
 * @property {string} runsOn the systems that it runs on, as a sentence goes on
 * @property {(path: string) => void} strip removes symbols that running a file does not need
 * @property {(path: string) => void} requireLittle ends the script if a file needs what such a system may lack
 */

const linux = (cpu, folder, build) => ({
  folder,
  build,
  beside: ['mora_gloo.so'],
  // The first backend is for drivers that support CUDA 13, the other for those that support CUDA 12.4 or newer.
  cuda: ['mora_cuda.so', 'mora_cuda_12.so'],
  described: { os: ['linux'], cpu: [cpu], libc: ['glibc'] },
  runsOn: `on Linux with glibc ${oldestGlibc} or newer (Debian 12, Ubuntu 22.04, Red Hat Enterprise Linux 9)`,
  strip: (path) => strip(path, `linux-${cpu}`),
  requireLittle,
})

/** @returns {Platform} */
const macos = (cpu) => ({
  folder: join(`build-macos-${cpu}`, 'Release'),
  build: 'npm run build macos',
  beside: [],
  cuda: [],
  described: { os: ['darwin'], cpu: [cpu] },
  runsOn: `on macOS ${oldestMacos} or newer; the project has not run it: "npx mora doctor --check" shows what it computes`,
  // It would invalidate the signature.
  strip: () => {},
  requireLittle: requireMacos,
})

/** @type {Platform} */
const windows = {
  folder: join('build-windows', 'Release'),
  build: 'npm run build windows',
  beside: [],
  cuda: [],
  described: { os: ['win32'], cpu: ['x64'] },
  runsOn: 'on Windows 10 or newer',
  strip: (path) => strip(path, 'win32-x64'),
  requireLittle,
}

/** @type {Record<string, Platform>} */
export const platforms = {
  'darwin-arm64': macos('arm64'),
  'darwin-x64': macos('x64'),
  'win32-x64': windows,
  'linux-arm64': linux('arm64', join('build-arm64', 'Release'), 'npm run check arm64'),
  // The build for older systems of this machine's own kind.
  [`linux-${process.arch}`]: linux(process.arch, join('build-older', 'Release'), 'npm run build older'),
}
