/**
 * Copies installed npm packages and their dependencies, without files for compilers, people, bundlers, `require` and other
 * systems.
 */
import { cpSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const notNeeded =
  /(\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|cjs|min\.m?js)|\/zod\/v3|\/yaml\/browser|\.(?!linux-(x64|arm64)-gnu\.)[^./]+\.node)$/

export function copyPackages(names, root, target) {
  const waiting = [...names]
  const copied = new Set()
  while (waiting.length > 0) {
    const name = waiting.pop()
    if (copied.has(name)) continue
    copied.add(name)
    const source = join(root, 'node_modules', name)
    if (!existsSync(source)) throw new Error(`Expected ${source}; run "npm install".`)
    cpSync(source, join(target, name), {
      recursive: true,
      filter: (path) => !notNeeded.test(path),
    })
    const { dependencies = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'))
    waiting.push(...Object.keys(dependencies).filter((dependency) => !dependency.startsWith('@types/')))
  }
}
