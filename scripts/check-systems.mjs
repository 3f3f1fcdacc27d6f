/**
 * Tries the README's promises on other systems: `npm run demo` and `npm test` on bare ones, and the build under other
 * compilers; installations of the package ("npm pack" of dist as it is) in projects there.
 *
 *     npm run check systems -- [--only debian-12,gcc-14] [--parts install,demo,test] [--share-ccache]
 *
 * Bare systems are made by debootstrap, as root, in build/systems, and kept there; each check works on a fresh copy with a
 * clone of the committed files. Nothing is shared with this machine except, with --share-ccache, its ccache, which makes times
 * meaningless. The output is saved in build/systems/NAME.log, and ends with one line for each system. Exit code 1 if one
 * failed, 3 if none could be tried.
 */
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { tryCompiler } from './systems/compiler.mjs'
import { tryDebian } from './systems/debian.mjs'

const systems = {
  'debian-12': (options) => tryDebian('debian-12', 'bookworm', options),
  'debian-13': (options) => tryDebian('debian-13', 'trixie', options),
  'gcc-12': () => tryCompiler('gcc-12', 'gcc-12', 'g++-12'),
  'gcc-14': () => tryCompiler('gcc-14', 'gcc-14', 'g++-14'),
  'clang-19': () => tryCompiler('clang-19', 'clang-19', 'clang++-19'),
}
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(systems).join() },
    parts: { type: 'string', default: 'install,demo,test' },
    'share-ccache': { type: 'boolean', default: false },
  },
})

const lines = []
for (const name of orUsageError(() => someOf('only', options.only, Object.keys(systems)))) {
  const { result, details } = await systems[name]({
    parts: options.parts.split(','),
    shareCcache: options['share-ccache'],
  })
  lines.push({ name, result, details })
}
for (const { name, result, details } of lines) console.log(`${name}: ${result}: ${details}`)
const results = lines.map(({ result }) => result)
process.exitCode = results.includes('failed') ? 1 : results.includes('passed') ? 0 : 3
