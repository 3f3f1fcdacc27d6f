/** Compares GGUF files of mixed block formats with those of llama.cpp's own quantiser for the same floats. */
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readGguf, readImportance } from '../../bench/common/internals.mjs'

/** With the numbers of llama_ftype. */
export const MIXTURES = /** @type {const} */ ({ q4_0: 2, q8_0: 7, q4_k_m: 15, q5_k_m: 17, q6_k: 18, iq4_xs: 30 })

/** Builds a program that runs llama.cpp's quantiser, from the libraries in a folder of node-llama-cpp. */
export function buildQuantiser(/** @type {string} */ folder) {
  const source = fileURLToPath(new URL('quantise.c', import.meta.url))
  const program = join(folder, 'quantise')
  execFileSync('cc', ['-O1', '-o', program, source, '-ldl'], { stdio: 'inherit' })
  const bins = join(folder, 'node_modules', '@node-llama-cpp', `linux-${process.arch}`, 'bins')
  const libraries = join(bins, readdirSync(bins)[0] ?? '')
  return (
    /** @type {string} */ input,
    /** @type {string} */ output,
    /** @type {number} */ type,
    /** @type {string[]} */ ...imatrix
  ) => execFileSync(program, [libraries, input, output, String(type), ...imatrix], { stdio: 'ignore' })
}

/** An importance matrix in the format of llama.cpp's older files. */
export async function writeOlderImportance(/** @type {string} */ path, /** @type {string} */ imatrix) {
  const { columns } = await readImportance(imatrix)
  const int = (/** @type {number} */ value) => Buffer.from(Int32Array.of(value).buffer)
  const entries = [...columns].flatMap(([name, values]) => {
    const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    return [int(Buffer.byteLength(name)), Buffer.from(name), int(1), int(values.length), bytes]
  })
  writeFileSync(path, Buffer.concat([int(columns.size), ...entries]))
}

/** Returns the names of tensors that differ in any byte between two files, and the number of all tensors. */
export async function differingTensors(/** @type {string} */ one, /** @type {string} */ other) {
  const [ours, theirs] = [(await readGguf(one)).tensors, (await readGguf(other)).tensors]
  const differing = []
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const [a, b] = [ours.get(name), theirs.get(name)]
    const same = a && b && a.dtype === b.dtype && (await bytesOf(a)).equals(await bytesOf(b))
    if (!same) differing.push(`${name} (${a?.dtype ?? 'absent'}, theirs ${b?.dtype ?? 'absent'})`)
  }
  return { differing, tensors: ours.size }
}

async function bytesOf(/** @type {{ path: string, offset: number, bytes: number }} */ { path, offset, bytes }) {
  const file = await open(path)
  try {
    const buffer = Buffer.alloc(bytes)
    await file.read(buffer, 0, bytes, offset)
    return buffer
  } finally {
    await file.close()
  }
}
