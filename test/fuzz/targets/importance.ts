/** Importance matrices: GGUF files, and llama.cpp's older format. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { readImportance, writeImportance } from '../../../lib/models/quantise/importance.js'
import { quickFolder } from '../../io/temporary.js'
import type { Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutateGguf } from './gguf-file.js'
import { bytesOf, changed } from './tiny-model.js'

const file = 'imatrix'

export async function importanceTarget(): Promise<Target> {
  const folder = quickFolder()
  const sums = new Map(['attn_q', 'ffn_down'].map((stem) => [`blk.0.${stem}.weight`, Float64Array.of(1, 2, 3, 4)]))
  await writeImportance(join(folder, file), { sums, tokens: 7, datasets: ['rows.jsonl'], chunks: 2, chunkSize: 5 })
  const current = readFileSync(join(folder, file))
  rmSync(folder, { recursive: true })
  const samples = [current, olderFile()].map((bytes) => new Map([[file, bytes]]))
  return {
    name: 'importance',
    samples,
    mutate: (random, files) => {
      const bytes = bytesOf(files, file)
      return changed(file, files === samples[0] ? mutateGguf(random, bytes) : mutateBytes(random, bytes))
    },
    async use(folder) {
      await readImportance(join(folder, file))
    },
  }
}

function olderFile(): Buffer {
  const int = (value: number) => Buffer.from(Int32Array.of(value).buffer)
  const values = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer)
  const name = Buffer.from('blk.0.attn_q.weight')
  const data = Buffer.from('rows.txt')
  return Buffer.concat([int(1), int(name.length), name, int(2), int(4), values, int(9), int(data.length), data])
}
