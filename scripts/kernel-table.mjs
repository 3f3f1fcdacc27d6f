/**
 * Prints the resources of every CUDA kernel (registers, shared memory, spills) as ptxas reported them while mora_cuda.so was
 * built. Fails if a kernel spills or nothing was built.
 *
 *     node scripts/kernel-table.mjs [build folder]
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = process.argv[2] ?? join(root, 'build', 'cmake', 'Release')
const logs = existsSync(folder)
  ? readdirSync(folder, { encoding: 'utf8', recursive: true }).filter(
      (name) => name.endsWith('.ptxas') && existsSync(objectOf(name)),
    )
  : []
if (logs.length === 0)
  fail(`No CUDA kernel was compiled in ${folder}: "npm run build native" does it where nvcc is found.`)

const kernels = logs.sort().flatMap((name) => kernelsOf(readFileSync(join(folder, name), 'utf8'), sourceOf(name)))
const names = demangled(kernels.map(({ symbol }) => symbol))
console.log('registers  shared  stack  spilled  for    kernel')
for (const [i, { registers, shared, stack, spilled, target, source }] of kernels.entries()) {
  const numbers = [String(registers).padStart(9), String(shared).padStart(6), String(stack).padStart(5)]
  console.log([...numbers, String(spilled).padStart(7), target, `${source}: ${short(names[i])}`].join('  '))
}
const spilling = kernels.filter(({ spilled }) => spilled > 0)
console.log(`${kernels.length} kernels, ${spilling.length} with spills`)
if (spilling.length > 0) fail('Kernels must not spill registers: see the table.')

function objectOf(name) {
  return join(folder, name.slice(0, -'.ptxas'.length))
}

function sourceOf(name) {
  return basename(name).replace(/\.cu\.o\.ptxas$/, '')
}

/** One entry for each kernel and architecture. */
function kernelsOf(text, source) {
  const found = []
  for (const block of text.split(/^ptxas info\s*: Compiling entry function /m).slice(1)) {
    const [, symbol, target] = /^'([^']+)' for '([^']+)'/.exec(block) ?? []
    const number = (pattern) => Number(pattern.exec(block)?.[1] ?? 0)
    found.push({
      source,
      symbol,
      target,
      registers: number(/Used (\d+) registers/),
      shared: number(/(\d+) bytes smem/),
      stack: number(/(\d+) bytes stack frame/),
      spilled: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
    })
  }
  return found
}

function demangled(symbols) {
  const { status, stdout } = spawnSync('c++filt', { input: symbols.join('\n'), encoding: 'utf8' })
  return status === 0 ? stdout.split('\n') : symbols
}

/** A kernel's name and template arguments, without namespaces and parameters. */
function short(name) {
  return name
    .replace(/\(anonymous namespace\)::|mora::cuda::|mora::|void |__nv_/g, '')
    .replace(/\([A-Za-z]+\)(\d)/g, '$1')
    .replace(/>\(.*$/, '>')
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
