import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { testsOfEveryDevice } from './scripts/tests-of-every-device.mjs'

const root = fileURLToPath(new URL('.', import.meta.url))
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
const emulated = existsSync(join(dirname(addon), 'mora_cuda_emulated.so'))
if (!emulated) console.warn('CUDA tests are skipped: the backend for the emulator is not built ("npm run build emulated").')

// No test asks the hub itself.
const env = { HF_HUB_OFFLINE: '1' }
const cudaEnv = { ...env, MORA_CUDA: 'emulated', MORA_TEST_DEVICE: 'cuda', MORA_SIMT_DEVICES: '2' }
const everyDevice = emulated ? testsOfEveryDevice : []

// Where lines are counted, a real model and finite differences of whole models take most of the time, and run no line that
// others do not.
const counting = Boolean(process.env.MORA_COVERAGE)
const setupFiles = [
  join(root, 'test', 'equality.ts'),
  ...(counting ? [join(root, 'scripts', 'coverage', 'exit.mjs')] : []),
  ...(process.env.MORA_TEST_OUTCOMES ? [join(root, 'scripts', 'test', 'only-added.mjs')] : []),
]
const patience = counting ? 900_000 : 120_000
const exclude = ['test/cuda/**', ...(counting ? ['test/eval/real-model.test.ts'] : [])]

/**
 * Whether tests use dist in place of lib, as `npm test` does: Node.js loads built modules in half the time. Modules that a test
 * replaces (`vi.mock`) can only be sources.
 */
const usesDist = Boolean(process.env.MORA_TEST_DIST) && !counting
const programs = readdirSync(join(root, 'test'), { encoding: 'utf8', recursive: true })
  .filter((name) => /\.test\.m?[jt]s$/.test(name))
  .map((name) => ({ name: `test/${name}`, source: readFileSync(join(root, 'test', name), 'utf8') }))
const namesOf = (fits: (program: { name: string; source: string }) => boolean) =>
  programs.filter(fits).map(({ name }) => name)
const replacing = usesDist ? namesOf(({ source }) => /\bvi\.(mock|doMock|resetModules)\(/.test(source)) : []
/**
 * Files that share a process in `npm test`, since loading what they import takes longer than their tests: those of rooms without
 * ranks, that neither change nor watch what belongs to the whole process. Files that free all that they allocate
 * (`liveBytes`) have no other beside them.
 */
const inRooms =
  /^test\/(adapters|analysis|api|cli|cuda|dashboard|batches|engine|eval|experiments|generate|golden|hub|io|models|native|nn|objectives|operations|optim|options|push|rows|schema|scripts|serve|tasks|tensor|text(?!\/isolated)|train(?!\/ranks))\/|^test\/[^/]+\.test\./
const ofProcess =
  /\bvi\.(mock|doMock|resetModules|stub|useFake)|\bspyOn\(process\b|\bprocess\.env(\.\w+|\[.+\]) = |\bdelete process\.env|\bprocess\.(argv|on|once|chdir|exitCode|memoryUsage)\b|setFlagsFromString|\.(memory|resetPeak|setMemoryLimit)\(/
const sharing = usesDist ? namesOf(({ name, source }) => inRooms.test(name) && !ofProcess.test(source)) : []
const freeing = new Set(namesOf(({ source }) => /\bliveBytes\b/.test(source)))
const together = {
  together: sharing.filter((name) => !freeing.has(name)),
  freeing: sharing.filter((name) => freeing.has(name)),
}
/** The names of all files but these. */
const allBut = (these: readonly string[]) =>
  programs.map(({ name }) => name).filter((name) => !these.includes(name))
const lib = join(root, 'lib') + sep
const dist = {
  name: 'dist in place of lib',
  enforce: 'pre' as const,
  resolveId(id: string, importer?: string) {
    const path = id.startsWith('.') && importer ? resolve(dirname(importer), id) : id
    if (!path.startsWith(lib)) return undefined
    return { id: join(root, 'dist', path.slice(lib.length)).replace(/\.ts$/, '.js'), external: true as const }
  },
}
const plugins = usesDist ? [dist] : []

export default defineConfig({
  // Examples and benchmarks import the package by its name, and benchmarks some of its internals.
  resolve: {
    alias: [
      { find: /^node-mora$/, replacement: join(root, 'lib', 'index.ts') },
      { find: /^node-mora\/adapters$/, replacement: join(root, 'lib', 'adapters', 'index.ts') },
      { find: /^#dist\/(.+)\.js$/, replacement: join(root, 'lib', '$1.ts') },
    ],
  },
  test: {
    // The addon owns threads and devices: a test file has a process of its own, unless it is one of `sharing`, and few run at
    // a time: three keep two cores busy, since many wait for processes of theirs.
    pool: 'forks',
    maxWorkers: 3,
    setupFiles,
    ...(counting && { testNamePattern: /^(?!.*gradients are those of finite differences)/ }),
    testTimeout: patience,
    hookTimeout: patience,
    // What a busy machine does later than within the second that vitest waits is no failure.
    expect: { poll: { timeout: 30_000 } },
    projects: [
      {
        extends: true,
        plugins,
        test: { name: 'cpu', include: ['test/**/*.test.{ts,mjs}'], exclude: [...exclude, ...replacing, ...sharing], env },
      },
      ...Object.entries(together).map(([name, include]) => ({
        extends: true as const,
        plugins,
        test: { name: `cpu, ${name}`, include, exclude: ['test/cuda/**'], isolate: false, env },
      })),
      ...(usesDist ? [{ extends: true, test: { name: 'cpu, from lib', include: replacing, env } } as const] : []),
      { extends: true, plugins, test: { name: 'cuda', include: everyDevice, exclude: sharing, env: cudaEnv } },
      ...Object.entries(together).map(([name, include]) => ({
        extends: true as const,
        plugins,
        test: { name: `cuda, ${name}`, include: everyDevice, exclude: allBut(include), isolate: false, env: cudaEnv },
      })),
    ],
  },
})
