/** The tools that compile the addon: whether this system has them, and the command that installs them. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter } from 'node:path'

/** @typedef {'CMake' | 'a C++20 compiler' | 'make' | 'Eigen 3'} Tool */

/** The command of each family of systems (ID and ID_LIKE of /etc/os-release), and its package of each tool. */
const managers = [
  { systems: ['debian', 'ubuntu'], command: 'apt-get install', packages: ['cmake', 'g++', 'make', 'libeigen3-dev'] },
  { systems: ['fedora', 'rhel'], command: 'dnf install', packages: ['cmake', 'gcc-c++', 'make', 'eigen3-devel'] },
  { systems: ['arch'], command: 'pacman -S', packages: ['cmake', 'gcc', 'make', 'eigen'] },
  { systems: ['suse'], command: 'zypper install', packages: ['cmake', 'gcc-c++', 'make', 'eigen3-devel'] },
  { systems: ['alpine'], command: 'apk add', packages: ['cmake', 'g++', 'make', 'eigen-dev'] },
]

/** @returns {Tool[]} the tools that are needed before CMake runs and are not there */
export function missingTools() {
  const works = (/** @type {string} */ name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0
  // cmake-js goes on with none but these; CXX may name another beside them.
  const compilers = ['g++', 'clang++']
  /** @type {Tool[]} */
  const tools = []
  if (!works('cmake')) tools.push('CMake')
  if (!compilers.some(works)) tools.push('a C++20 compiler')
  if (!works('make') && !works('ninja')) tools.push('make')
  return tools
}

/** Whether Eigen 3 is in none of the usual places, once CMake has not found it where else it looks. */
export function isEigenMissing() {
  const folders = [
    '/usr/include',
    '/usr/local/include',
    '/opt/homebrew/include',
    ...(process.env.CPATH ?? '').split(delimiter),
  ]
  return !folders.some((folder) => existsSync(`${folder}/eigen3/Eigen/Dense`))
}

/**
 * Returns the command that installs tools on this system; null for no tool, or on a system whose packages are not known.
 * @param {Tool[]} tools
 */
export function commandThatInstalls(tools, system = systemNames()) {
  if (tools.length === 0) return null
  if (system.includes('darwin')) return 'xcode-select --install; brew install cmake eigen highway'
  const manager = managers.find(({ systems }) => systems.some((name) => system.includes(name)))
  if (!manager) return null
  /** @type {Tool[]} */
  const order = ['CMake', 'a C++20 compiler', 'make', 'Eigen 3']
  // A system that lacks one of the others has hardly Eigen, which is looked for last.
  const wanted = order.filter((tool) => tools.includes(tool) || tool === 'Eigen 3')
  return [manager.command, ...wanted.map((tool) => manager.packages[order.indexOf(tool)])].join(' ')
}

/** Names of this system: ID and ID_LIKE, or the platform where there is no /etc/os-release. */
function systemNames() {
  if (!existsSync('/etc/os-release')) return [process.platform]
  const text = readFileSync('/etc/os-release', 'utf8')
  return [...text.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].flatMap(([, names]) => names.replaceAll('"', '').split(' '))
}
