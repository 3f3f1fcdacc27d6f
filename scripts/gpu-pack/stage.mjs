/**
 * Puts everything the GPU check needs into one folder that runs without npm, compiler and repository: lib and test as
 * JavaScript, benchmarks, golden data, the few packages that they import, and a stand-in for vitest. The folder is laid
 * out as the repository is, with `lib` as another name for `dist`.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import typescript from 'typescript'
import { testsOfEveryDevice } from '../tests-of-every-device.mjs'
import { copyPackages } from './packages.mjs'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The packages that lib imports, and those of vitest's runner and assertions. */
const packages = ['zod', 'commander', 'yaml', 'tokenizers', 'hono', '@hono/node-server']
const testPackages = ['@vitest/runner', '@vitest/expect']

/** Fills `folder`, after removing what is there. */
export function stage(folder) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const tests = testsToRun()
  compile('lib', join(folder, 'dist'))
  symlinkSync('dist', join(folder, 'lib'))
  compile('test', join(folder, 'test'), (name) => !name.endsWith('.test.ts') || tests.includes(name))
  const golden = filesOf('test/golden', (name) => !name.endsWith('.ts'))
  for (const name of golden) cpSync(join(root, name), join(folder, name))
  for (const name of [
    'bench/cuda',
    'bench/cuda-model',
    'bench/cuda-model.mjs',
    'bench/common',
    'bench/kernels/attention.mjs',
    'bench/pytorch',
    'scripts/check-gpu',
    'package.json',
  ])
    cpSync(join(root, name), join(folder, name), { recursive: true })
  copyPackages([...packages, ...testPackages], root, join(folder, 'node_modules'))
  addVitest(join(folder, 'node_modules', 'vitest'))
  writeFileSync(join(folder, 'tests.json'), JSON.stringify(tests.map(compiled)))
}

/** Compiles every TypeScript file of a folder to JavaScript, without checking types (`npm run check` does). */
function compile(source, target, wanted = (/** @type {string} */ _name) => true) {
  const { ScriptTarget, ModuleKind, transpileModule } = typescript
  const compilerOptions = { target: ScriptTarget.ES2022, module: ModuleKind.ESNext, verbatimModuleSyntax: true }
  const sources = filesOf(source, (file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  for (const name of sources.filter(wanted)) {
    const { outputText } = transpileModule(readFileSync(join(root, name), 'utf8'), { compilerOptions, fileName: name })
    const path = join(target, compiled(name.slice(source.length + 1)))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, outputText)
  }
}

/** Paths from the repository's root. */
function filesOf(folder, wanted) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && wanted(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort()
}

function compiled(name) {
  return name.replace(/\.ts$/, '.js')
}

function testsToRun() {
  const all = filesOf('test', (name) => name.endsWith('.test.ts'))
  return testsOfEveryDevice.flatMap((pattern) => {
    const [before, after] = pattern.split('*')
    const fits = (name) =>
      after === undefined
        ? name === pattern
        : name.startsWith(before) && name.endsWith(after) && !name.slice(before.length).includes('/')
    const found = all.filter(fits)
    if (found.length === 0) throw new Error(`Expected a test for ${pattern} but found none.`)
    return found
  })
}

function addVitest(folder) {
  mkdirSync(folder)
  cpSync(join(root, 'scripts/check-gpu/vitest.mjs'), join(folder, 'index.js'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'vitest', type: 'module', exports: './index.js' }))
}
