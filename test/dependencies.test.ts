/** Packages from npm are few, exact, and each has its reason in docs/design.md. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const read = (name: string) => readFileSync(join(root, name), 'utf8')
const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
const all = Object.entries({ ...dependencies, ...devDependencies })

test.each(all)('%s has one version and a reason', (name, version) => {
  expect(version).toMatch(/^(npm:typescript@)?\d+\.\d+\.\d+$/)
  const section = read('docs/design.md').split('## Libraries, and why each')[1]!.split('\n## ')[0]!
  expect(section.split(/[\s,;|`]+/)).toContain(name)
})

test('the lock file has a hash of each package and no address, so any registry serves the same', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Record<string, unknown>> }
  const { '': own, ...others } = packages
  expect(own).toMatchObject({ dependencies, devDependencies })
  for (const [name, entry] of Object.entries(others)) {
    expect(entry.integrity, name).toMatch(/^sha512-/)
    expect(entry.resolved, name).toBeUndefined()
  }
})
