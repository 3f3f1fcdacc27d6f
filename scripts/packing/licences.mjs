/**
 * The licences of the libraries that a platform package carries, and where their sources are. Debian's packages tell:
 * those of this machine, or of another in the folder `sysroot`.
 */
import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { copy, fail, run } from './tools.mjs'

/** By the name up to ".so"; each may be passed on in binary form together with its licence. */
const known = {
  libdnnl: 'Apache-2.0',
  libhwy: 'Apache-2.0',
  libgomp: 'GPL-3.0-or-later WITH GCC-exception-3.1',
}
const commonLicences = { 'GPL-3.0-or-later WITH GCC-exception-3.1': 'GPL-3', 'Apache-2.0': 'Apache-2.0' }

/** The SPDX expression of a library. */
export function licenceOf(library) {
  return (
    known[library.split('.so')[0]] ??
    fail(`The licence of ${library} is not known; add it to scripts/packing/licences.mjs if it may be passed on.`)
  )
}

/** What dpkg says of the package that a file is from. */
function packageOf(path, sysroot) {
  const database = `--admindir=${sysroot}/var/lib/dpkg`
  const name = run('dpkg-query', [database, '-S', realpathSync(path).slice(sysroot.length)]).split(': ')[0]
  const field = (of) => `\${source:${of}}`
  const format = `${field('Package')} ${field('Version')}`
  const [source, version] = run('dpkg-query', [database, '-W', '-f', format, name]).split(' ')
  return { debian: name.split(':')[0], source, version }
}

/** A line of Markdown for each library. */
export function describePackages(libraries, sysroot) {
  return [...libraries]
    .map(([name, path]) => ({ name, ...packageOf(path, sysroot) }))
    .map(({ name, source, version }) => `- ${name}: source package ${source} ${version}, ${licenceOf(name)}`)
    .join('\n')
}

/** Copies what the libraries' packages say of copyright, and the full texts, into `folder`/licences. */
export function writeLicences(libraries, folder, sysroot) {
  const target = join(folder, 'licences')
  mkdirSync(target)
  for (const [library, path] of libraries) {
    const { debian } = packageOf(path, sysroot)
    copy(join(`${sysroot}/usr/share/doc`, debian, 'copyright'), join(target, `${debian}.txt`))
    const text = commonLicences[licenceOf(library)]
    if (!existsSync(join(target, text))) copy(join('/usr/share/common-licenses', text), join(target, text))
  }
}
