/** The folder, the version and the command of this package. */
import { readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's folder: the parent of `lib` and `dist`, in which this file is two levels deep. */
export const packageFolder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

interface PackageFacts {
  version: string
  /** In a published package, the packages of all platforms. */
  optionalDependencies?: Record<string, string>
}

function packageFacts(): PackageFacts {
  return JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as PackageFacts
}

/** The version of this package. */
export function packageVersion(): string {
  return packageFacts().version
}

/** Whether this package was published with a package of that name for a platform. */
export function isPublishedWith(name: string): boolean {
  return packageFacts().optionalDependencies?.[name] !== undefined
}

/** Whether this package was installed, rather than being a checkout. */
export const isDependency = packageFolder.split(sep).includes('node_modules')

/** Returns the words that run a command of this package in the current folder, for messages. */
export function commandLine(command: string): string {
  const main = join(packageFolder, 'dist', 'cli', 'main.js')
  return `${isDependency ? 'npx node-mora' : `node ${relative('', main)}`} ${command}`
}
