/** T16: a model written to a GGUF file computes the same as before. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readGguf } from '../../lib/io/gguf.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import {
  describeFamilies,
  familyExpected,
  familyFolder,
  familyNames,
  familyPath,
  lacksInGguf,
  loadFamily,
  sharp,
} from './families.js'
import { lacksGolden, largestDifference } from './files.js'
import { expectedOf, loadTiny, logProbsOf, tinyModels } from './tiny-models.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const written = familyNames.filter((name) => !lacksInGguf.has(name))
describeFamilies(written, (name, folder) => {
  const { sequences, logprobs } = familyExpected(name)

  test('T16 in float32 computes the same, and in Q8_0 nearly', async () => {
    using model = await loadFamily(folder)
    const path = join(at(), 'model.gguf')
    await model.save(path, { dtype: 'float32' })
    using again = await loadFamily(path)
    const { network, vocabularySize, tiedEmbeddings } = model.config
    expect(again.config).toMatchObject({ vocabularySize, tiedEmbeddings })
    expect(again.config.network.blocks).toHaveLength(network.blocks.length)
    const got = await logProbsOf(again, sequences)
    for (const [i, values] of got.entries()) expect(largestDifference(values, logprobs[i]!)).toBeLessThan(1e-4)

    await model.save(join(at(), 'small.gguf'), { dtype: 'q8_0' })
    using small = await loadFamily(join(at(), 'small.gguf'))
    const near = await logProbsOf(small, sequences)
    // These checkpoints have longer sequences than the others, and LFM2 multiplies three projections.
    const most = sharp.has(name) ? 1 : ({ olmo3: 0.15, lfm2: 0.25 }[name] ?? 0.1)
    for (const [i, values] of near.entries()) expect(largestDifference(values, logprobs[i]!)).toBeLessThan(most)
  })
})

needing(lacksGolden(familyPath('olmo2'))).test(
  "OLMo 2's norms have the names that llama.cpp knows, not Llama's",
  async () => {
    using model = await loadFamily(familyFolder('olmo2'))
    await model.save(join(at(), 'model.gguf'))
    const { tensors } = await readGguf(join(at(), 'model.gguf'))
    const norms = [...tensors.keys()].filter((name) => /^blk\.0\..*norm/.test(name)).sort()
    const expected = ['attn_k_norm', 'attn_q_norm', 'post_attention_norm', 'post_ffw_norm']
    expect(norms).toEqual(expected.map((name) => `blk.0.${name}.weight`))
  },
)

needing(lacksGolden(familyPath('mistral'))).test(
  'a configuration that GGUF cannot say is refused by name',
  async () => {
    using model = await loadFamily(familyFolder('mistral'))
    await expect(model.save(join(at(), 'model.gguf'))).rejects.toThrow(
      /architecture llama cannot say what the model's configuration says: .*window is \d+ and would be null/,
    )
    expect(readdirSync(at())).toEqual([])
  },
)

describe.each(tinyModels)('T16 %s', (name) => {
  const { sequences } = expectedOf(name)

  test('half precision is the checkpoint rounded once; vectors stay float32', async () => {
    using model = await loadTiny(name)
    for (const dtype of ['bfloat16', 'float16'] as const) {
      await model.save(join(at(), `${dtype}.gguf`), { dtype })
      await model.save(join(at(), dtype), { dtype })
      const { tensors, metadata } = await readGguf(join(at(), `${dtype}.gguf`))
      expect(tensors.get('blk.0.attn_q.weight')!.dtype).toBe(dtype)
      expect(tensors.get('output_norm.weight')!.dtype).toBe('float32')
      expect(metadata.get('general.file_type')).toBe(dtype === 'bfloat16' ? 32 : 1)
      using fromGguf = await loadFamily(join(at(), `${dtype}.gguf`))
      using fromFolder = await loadFamily(join(at(), dtype))
      const [one, other] = await Promise.all([logProbsOf(fromGguf, sequences), logProbsOf(fromFolder, sequences)])
      // Norms are rounded in only one of the two.
      for (const [i, values] of one.entries()) expect(largestDifference(values, other[i]!)).toBeLessThan(0.05)
    }
  })
})
