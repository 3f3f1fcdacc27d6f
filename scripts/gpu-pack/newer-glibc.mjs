/** The pack's own library of what glibc 2.35 does not have and no older function does (newer-glibc.c). */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** What it defines. */
export const replaced = ['arc4random', 'arc4random_buf']

export function compileReplacements(target) {
  const at = (name) => fileURLToPath(new URL(name, import.meta.url))
  const { status } = spawnSync(
    process.env.CC ?? 'gcc',
    [
      ...['-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-fno-builtin', '-o', target, at('newer-glibc.c')],
      `-Wl,--version-script=${at(`newer-glibc.${process.arch}.map`)}`,
    ],
    { stdio: 'inherit' },
  )
  if (status !== 0) throw new Error(`${target} could not be compiled.`)
}
