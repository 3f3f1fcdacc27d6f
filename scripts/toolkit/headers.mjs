/** Checks that this project's declarations of cuBLAS and NCCL match their own headers, and that a mismatch would be noticed. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Possible mistakes in a header of native, each of which must stop the compiler. */
const mistakesOfCublas = [
  ['a leading dimension of 64 bits', 'int ldc,\n', 'int64_t ldc,\n'],
  [
    'an argument too few',
    '(*setWorkspace)(CublasHandle handle, void* workspace, ',
    '(*setWorkspace)(CublasHandle handle, ',
  ],
  ['a handle that is a number', '(*destroy)(CublasHandle handle)', '(*destroy)(int handle)'],
  ['another number for bfloat16', 'bf16 = 14', 'bf16 = 15'],
  ['another number for TF32', 'f32FastTf32 = 77', 'f32FastTf32 = 78'],
  ['another bit for full precision', 'fullPrecisionSums = 16', 'fullPrecisionSums = 8'],
]

const mistakesOfNccl = [
  ['a count of 32 bits', 'size_t count, NcclType', 'uint32_t count, NcclType'],
  ['a gathering with an operation', 'NcclType type, NcclCommunicator', 'NcclType type, int, NcclCommunicator'],
  ['an id by its address', 'int size, NcclId id, int rank', 'int size, NcclId* id, int rank'],
  ['a shorter id', 'char bytes[128]', 'char bytes[64]'],
  ['a communicator that is a number', '(*commAbort)(NcclCommunicator communicator)', '(*commAbort)(int communicator)'],
  ['another number for float32', 'float32 = 7', 'float32 = 6'],
  ['another number for bytes', 'uint8 = 1', 'uint8 = 2'],
  ['another number for what is not done yet', 'inProgress = 7', 'inProgress = 8'],
  [
    'a configuration in another order',
    'int minCtas = kNcclUndefined;\n  int maxCtas',
    'int maxCtas = kNcclUndefined;\n  int minCtas',
  ],
  ['another magic number', '0xcafebeef', '0xcafebabe'],
]

/** Returns the compiler's messages of a comparison with the headers in these folders; '' if all agree. */
function compile(source, includes, before = []) {
  const { status, stderr } = spawnSync(
    process.env.CXX ?? 'c++',
    [
      ...['-std=c++20', '-fsyntax-only', '-Wall', '-Wextra', '-Wpedantic', '-Werror', ...before],
      ...[`-I${join(root, 'native')}`, ...includes.flatMap((include) => ['-isystem', include])],
      join(root, 'native', source),
    ],
    { encoding: 'utf8' },
  )
  return status === 0 ? '' : stderr || 'the compiler could not be run'
}

/** Compares cuBLAS's header; see `check`. */
export const checkCublasHeader = (includes) =>
  check('cuda/products/cublas.h', 'cuda/products/cublas_abi.cpp', 'cublas_v2.h', mistakesOfCublas, includes)

/** Compares NCCL's header; see `check`. */
export const checkNcclHeader = (includes) =>
  check('ranks/nccl_library.h', 'ranks/nccl_abi.cpp', 'nccl.h', mistakesOfNccl, includes)

/**
 * Returns one entry for a header as it is and one for each planted mistake: what was tried, and null or what is wrong. Returns
 * none if the folders have no header of that name.
 */
function check(header, source, real, mistakes, includes) {
  if (!includes.some((include) => existsSync(join(include, real)))) return []
  const told = compile(source, includes)
  const folder = mkdtempSync(join(tmpdir(), 'mora-headers-'))
  mkdirSync(dirname(join(folder, header)), { recursive: true })
  const planted = (right, wrong) => plantedIn({ header, source, includes, folder }, right, wrong)
  try {
    return [
      [`${header} agrees with the real header`, told === '' ? null : told],
      ...mistakes.map(([name, right, wrong]) => [`and would not with ${name}`, planted(right, wrong)]),
    ]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function plantedIn({ header, source, includes, folder }, right, wrong) {
  const text = readFileSync(join(root, 'native', header), 'utf8')
  if (!text.includes(right)) return `native/${header} has no ${JSON.stringify(right)} to plant a mistake in`
  writeFileSync(join(folder, header), text.replace(right, wrong))
  const told = compile(source, includes, [`-I${folder}`])
  if (told === '') return 'the compiler did not notice'
  return told.includes('static assertion failed') ? null : told
}
