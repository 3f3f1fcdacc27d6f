/** Why the package's install script (scripts/install.mjs) left no addon, and the command that gets one. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { commandLine, isDependency, packageFolder } from '../common/package-info.js'

/** The report of scripts/build-native.mjs on a build that failed. */
interface BuildFailure {
  /** A clause. */
  problem: string
  /** A command of a shell. */
  remedy: string
}

/** Returns the report beside an addon's place; null if it was built, or if nobody tried. */
function buildFailure(addon: string): BuildFailure | null {
  try {
    return JSON.parse(readFileSync(join(dirname(addon), 'not-built.json'), 'utf8')) as BuildFailure
  } catch {
    return null
  }
}

/** Returns why there is no file where an addon would be, in words for brackets. */
export function whyAbsent(addon: string): string {
  const failure = buildFailure(addon)
  return failure === null ? 'not there' : `not built: ${failure.problem}`
}

/** Returns the commands that compile the addon, or let the install script do so where it did not run. */
export function compileRemedy(): string {
  const failure = buildFailure(join(packageFolder, 'build', 'Release', 'mora.node'))
  if (failure !== null) return failure.remedy
  const build = commandLine('build')
  const allow = isDependency ? managerOf(packageFolder)?.allow : undefined
  return allow === undefined ? build : `${build}, or let the install script do it: ${allow}`
}

/** Returns the command that installs another package beside this one. */
export function addCommand(): string {
  return (isDependency && managerOf(packageFolder)?.add) || 'npm install'
}

/** A package manager: a trace that it leaves beside packages, its command that adds one, and how it allows a script by name. */
interface PackageManager {
  traces: string[]
  add: string
  allow: string
}

const MANAGERS: PackageManager[] = [
  {
    traces: ['node_modules/.modules.yaml'],
    add: 'pnpm add',
    allow: 'pnpm add node-mora --allow-build=node-mora',
  },
  {
    traces: ['node_modules/.yarn-state.yml', 'node_modules/.yarn-integrity'],
    add: 'yarn add',
    allow: 'set "dependenciesMeta": {"node-mora": {"built": true}} in package.json, and yarn rebuild node-mora',
  },
  { traces: ['bun.lock', 'bun.lockb'], add: 'bun add', allow: 'bun pm trust node-mora' },
  {
    traces: ['node_modules/.package-lock.json'],
    add: 'npm install',
    allow: 'npm approve-scripts node-mora && npm rebuild node-mora',
  },
]

/** Returns the manager that installed a package; undefined for one that leaves no trace, as in global folders. */
export function managerOf(folder: string): PackageManager | undefined {
  const parent = dirname(folder)
  const manager = MANAGERS.find(({ traces }) => traces.some((trace) => existsSync(join(parent, trace))))
  return manager ?? (parent === folder ? undefined : managerOf(parent))
}
