/** What the packs may need from a system. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { lacking, needsOf, oldestGlibc } from '../../scripts/packing/needs.mjs'
import { lacksLinux, needing } from '../needs.ts'

const nothing = { system: 'linux', libraries: [], versions: [] }

test('a system with an old glibc lacks newer versions, by number, and versions of anything else', () => {
  expect(oldestGlibc).toBe('2.34')
  const versions = ['GLIBC_2.2.5', 'GLIBC_2.4', 'GLIBC_2.34', 'GCC_3.0', 'GCC_4.2.0']
  expect(lacking({ ...nothing, versions })).toEqual([])
  const newer = [
    'GLIBC_2.35',
    'GLIBC_2.100',
    'GLIBC_3.1',
    'GCC_12.0.0',
    'GLIBC_ABI_DT_RELR',
    'CXXABI_1.3',
    'GLIBCXX_3.4',
  ]
  expect(lacking({ ...nothing, versions: [...versions, ...newer] })).toEqual(newer)
})

test("it has glibc's libraries and the one of GCC that Node.js needs, and lacks others unless they are bundled", () => {
  const libraries = ['libc.so.6', 'libm.so.6', 'libgcc_s.so.1', 'ld-linux-x86-64.so.2', 'ld-linux-aarch64.so.1']
  expect(lacking({ ...nothing, libraries })).toEqual([])
  const others = ['libstdc++.so.6', 'libcrypt.so.1', 'libmvec.so.1']
  expect(lacking({ ...nothing, libraries: [...libraries, ...others] })).toEqual(others)
  const needs = { system: 'linux', libraries: ['liblzma.so.5', 'libc.so.6'], versions: ['XZ_5.0', 'GLIBC_2.35'] }
  expect(lacking(needs, /^(liblzma|XZ_)/)).toEqual(['GLIBC_2.35'])
})

needing(lacksLinux).test('what a program needs is read from its file', () => {
  const { architecture, libraries, versions } = needsOf(process.execPath)
  expect(architecture).toBe(process.arch)
  expect(libraries).toEqual(expect.arrayContaining(['libc.so.6', 'libstdc++.so.6']))
  expect(versions).toContainEqual(expect.stringMatching(/^GLIBC_2\.\d+$/))
  expect(versions).toContainEqual(expect.stringMatching(/^GLIBCXX_3\.4/))
})

test('every Windows has its own libraries, and Node.js its program; those of MinGW have to be linked in', () => {
  const libraries = ['KERNEL32.dll', 'msvcrt.dll', 'api-ms-win-crt-heap-l1-1-0.dll', 'NODE.EXE']
  const needs = { system: 'win32', versions: [] }
  expect(lacking({ ...needs, libraries })).toEqual([])
  const others = ['libstdc++-6.dll', 'libwinpthread-1.dll', 'libgcc_s_seh-1.dll']
  expect(lacking({ ...needs, libraries: [...libraries, ...others] })).toEqual(others)
})

test('libraries of an unknown processor are refused', () => {
  const script = fileURLToPath(new URL('../../scripts/sysroot/unpack.sh', import.meta.url))
  const { status, stderr } = spawnSync('bash', [script, 'mips'], { encoding: 'utf8' })
  expect(stderr).toBe('sysroot: Expected x64 or arm64 but received mips.\n')
  expect(status).toBe(3)
})
