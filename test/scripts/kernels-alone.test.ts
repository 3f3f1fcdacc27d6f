/**
 * native/cuda by itself, as on a machine that has nvcc and a C++ compiler and little else: no package of the other
 * backends is looked for, and nothing that is compiled reads one of their headers. `npm run test:long` compiles all of it.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { lack, lacksLong, needing } from '../needs.js'
import { run } from '../simt/programs.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const minutes = 60_000
// As deep as the whole build's folder: the compiler's cache sees the same relative paths.
const folder = join(root, 'build', 'kernels', 'alone')
const absent = ['dnnl', 'hwy', 'Eigen3', 'OpenMP']
const { succeeds: nvcc } = await run('nvcc', ['--version'])

const build = (...targets: string[]) => run('cmake', ['--build', folder, '--parallel', '2', '--target', ...targets])

/** Headers outside of the repository that the compilation has read. */
function headersRead(): string[] {
  const lists = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.o.d'))
  expect(lists).not.toEqual([])
  const words = lists.flatMap((name) => readFileSync(join(folder, name), 'utf8').split(/[\s\\]+/))
  return [...new Set(words)].filter((path) => path.startsWith('/') && !path.startsWith(root))
}

const ofOthers = /\/(hwy|oneapi|dnnl|[Ee]igen3?|node|node-addon-api|node_api)[./]|\/(dnnl|omp|napi)[^/]*\.h/

needing(lack('nvcc', nvcc)).describe('native/cuda by itself', () => {
  beforeAll(async () => {
    rmSync(join(folder, 'CMakeCache.txt'), { force: true })
    const hidden = absent.map((name) => `-DCMAKE_DISABLE_FIND_PACKAGE_${name}=ON`)
    const source = ['-S', join(root, 'native', 'cuda'), '-B', folder, '-G', 'Unix Makefiles']
    const { succeeds, text } = await run('cmake', [...source, ...hidden])
    expect(succeeds, text).toBe(true)
  }, 5 * minutes)

  test('compiles a kernel without the packages of other backends', { timeout: 10 * minutes }, async () => {
    const { succeeds, text } = await build('offsets.o', 'runtime/stream.o')
    expect(succeeds, text).toBe(true)
    expect(headersRead().filter((path) => ofOthers.test(path))).toEqual([])
  })

  needing(lacksLong).test('has programs that test and time them', { timeout: 60 * minutes }, async () => {
    const { succeeds, text } = await build('gpu_kernel_tests', 'gpu_kernel_bench')
    expect(succeeds, text).toBe(true)
    expect(headersRead().filter((path) => ofOthers.test(path))).toEqual([])
    const tests = await run(join(folder, 'gpu_kernel_tests'), [])
    const files = readdirSync(join(root, 'test', 'native', 'cuda'), { encoding: 'utf8', recursive: true })
    const names = files.map((file) => basename(file)).filter((name) => /^cuda_.*\.cpp$/.test(name))
    expect(tests.text.trim().split('\n').sort()).toEqual(names.map((name) => name.replace('.cpp', '')).sort())
    const cases = await run(join(folder, 'gpu_kernel_bench'), [])
    expect(cases.text.split('\n')).toContain('attentionBackward')
  })
})
