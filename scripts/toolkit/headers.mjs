/** Whether what native/cuda declares of cuBLAS is what cuBLAS's own headers say, and whether that would be noticed. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const header = join(root, 'native', 'cuda', 'cublas.h')

/** Mistakes that a header may have, each of which has to stop the compiler. */
const mistakes = [
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

/** What the compiler says of cublas_abi.cpp with the headers of a toolkit; '' where all agrees. */
function compile(include, before = []) {
  const { status, stderr } = spawnSync(
    process.env.CXX ?? 'c++',
    [
      ...['-std=c++20', '-fsyntax-only', '-Wall', '-Wextra', '-Wpedantic', '-Werror', ...before],
      ...[`-I${join(root, 'native')}`, '-isystem', include, join(root, 'native', 'cuda', 'cublas_abi.cpp')],
    ],
    { encoding: 'utf8' },
  )
  return status === 0 ? '' : stderr || 'the compiler could not be run'
}

/** One entry for the headers as they are and one for each planted mistake: what was tried, and null or what is wrong. */
export function checkHeaders(include) {
  if (!existsSync(join(include, 'cublas_v2.h'))) return []
  const told = compile(include)
  const folder = mkdtempSync(join(tmpdir(), 'mora-headers-'))
  mkdirSync(join(folder, 'cuda'))
  try {
    return [
      ['cublas.h agrees with the real header', told === '' ? null : told],
      ...mistakes.map(([name, right, wrong]) => [`and would not with ${name}`, planted(include, folder, right, wrong)]),
    ]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function planted(include, folder, right, wrong) {
  const text = readFileSync(header, 'utf8')
  if (!text.includes(right)) return `native/cuda/cublas.h has no ${JSON.stringify(right)} to plant a mistake in`
  writeFileSync(join(folder, 'cuda', 'cublas.h'), text.replace(right, wrong))
  const told = compile(include, [`-I${folder}`])
  if (told === '') return 'the compiler did not notice'
  return told.includes('static assertion failed') ? null : told
}
