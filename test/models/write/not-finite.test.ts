/** Values that cannot be quantised are refused by the name of their tensor. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readSafetensorsHeader } from '../../../lib/io/safetensors.js'
import { loadModel } from '../../../lib/models/index.js'
import { goldenPath } from '../../golden/files.js'
import { quickFolder } from '../../io/temporary.js'

const folder = quickFolder()
afterAll(() => rmSync(folder, { recursive: true }))
const NAME = 'model.layers.1.self_attn.q_proj.weight'

/** A model of float32 with this value in one tensor. */
async function modelWith(value: number): Promise<string> {
  const path = join(folder, `of ${value}`)
  cpSync(goldenPath('tiny-untied/model')!, path, { recursive: true })
  const file = join(path, 'model.safetensors')
  const { dtype, offset } = (await readSafetensorsHeader(file)).tensors.get(NAME)!
  expect(dtype).toBe('float32')
  const bytes = readFileSync(file)
  bytes.writeFloatLE(value, offset + 40)
  writeFileSync(file, bytes)
  return path
}

test.each([
  [Number.NaN, 'nan'],
  [Number.POSITIVE_INFINITY, 'inf'],
])('where a model is loaded: %d', async (value, shown) => {
  const path = await modelWith(value)
  for (const quantise of ['nf4', 'q8_0'] as const) {
    await expect(loadModel(path, { device: 'cpu', quantise })).rejects.toMatchObject({
      code: 'non-finite',
      message: expect.stringMatching(`^${NAME}: A value is ${shown}, which ${quantise} cannot hold\\.$`),
    })
  }
})

test.each([Number.NaN, Number.POSITIVE_INFINITY, 1e30])('where a model is written: %d', async (value) => {
  using model = await loadModel(await modelWith(value), { device: 'cpu', dtype: 'float32' })
  const folderOrFile = [
    [join(folder, 'written'), { quantise: 'nf4' }],
    [join(folder, 'written.gguf'), { dtype: 'q8_0' }],
    [join(folder, 'written.gguf'), { format: 'gguf', quantise: 'q8_0' }],
  ] as const
  for (const [output, options] of folderOrFile.slice(value === 1e30 ? 1 : 0)) {
    await expect(model.save(output, options)).rejects.toMatchObject({
      code: 'non-finite',
      message: expect.stringContaining(NAME),
    })
  }
})
