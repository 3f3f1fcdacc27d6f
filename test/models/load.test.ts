import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { initModel, loadModel } from '../../lib/models/index.js'
import type { LoadOptions } from '../../lib/models/load-model.js'
import { loadFamily } from '../golden/families.js'
import { goldenPath } from '../golden/files.js'
import { expectedOf, loadTiny, logProbsOf } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const { sequences } = expectedOf('tiny-untied')
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

test.each([
  [{ devise: 'cpu' }, 'Unknown option devise; did you mean device?'],
  [{ threads: -1 }, 'for threads but received -1.'],
  [{ threads: 1e6 }, 'up to 1024 for threads'],
  [{ dtype: 'int8' }, 'for dtype but received "int8".'],
])('wrong options are refused by name: %j', async (options, message) => {
  const refused = expect.objectContaining({ exitCode: 2, message: expect.stringContaining(message) })
  await expect(loadModel('absent', options as LoadOptions)).rejects.toThrow(refused)
  await expect(initModel('absent', options as LoadOptions)).rejects.toThrow(refused)
})

test.each([
  ['gemma2', '9ec8b04c4026c72ad9b276f7211e604aa248590adbf0b285ad426f5a9e0b348b'],
  ['gemma3', '1a406b4d3dbb4da50b50b0c76f85b6bf7bd8c2755dcbd7bcccf03aa48ee5963b'],
])('the hash of %s is the one that adapters of every version know their base by', async (name, hash) => {
  using model = await loadFamily(goldenPath(`families/${name}`))
  expect(model.base.identity()?.hash).toBe(hash)
})

test('rotary frequencies have the requested precision in a model of random weights, too', async () => {
  using base = await loadTiny('tiny-untied')
  const config = join(base.path, 'config.json')
  const logProbs = async (rotaryDtype: 'float32' | 'bfloat16') => {
    using model = await initModel(config, { device, dtype: 'float32', seed: 1, rotaryDtype })
    return await logProbsOf(model, sequences)
  }
  expect(await logProbs('bfloat16')).not.toEqual(await logProbs('float32'))
})

describe('a checkpoint whose files do not fit together', () => {
  const at = useTemporaryFolder()

  /** A copy of a whole checkpoint with other entries in its configuration. */
  async function changed(entries: object): Promise<string> {
    using base = await loadTiny('tiny-untied')
    const folder = join(at(), 'changed')
    cpSync(base.path, folder, { recursive: true })
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...base.config.json, ...entries }))
    return folder
  }

  test.each<[object, RegExp]>([
    [{ num_hidden_layers: 2 ** 31 }, /positive integer up to 10000 for num_hidden_layers/],
    [{ vocab_size: 2 ** 40 }, /positive integer up to 2147483647 for vocab_size/],
    // 2^31 · 64 float32 values would be 512 GiB.
    [
      { vocab_size: 2 ** 31 - 1 },
      /embed_tokens\.weight is \[\d+, \d+\], but the configuration asks for \[2147483647, /,
    ],
    [{ num_hidden_layers: 9999 }, /has no tensor model\.layers\.\d+\./],
    [{ intermediate_size: 7 }, /mlp\.gate_proj\.weight is /],
  ])('%j is refused before memory is allocated for it, with its path', async (entries, message) => {
    const folder = await changed(entries)
    testDevice().resetPeak()
    await expect(loadModel(folder, { device, dtype: 'float32' })).rejects.toThrow(message)
    await expect(loadModel(folder, { device, dtype: 'float32' })).rejects.toThrow(folder)
    const { peak, inUse } = testDevice().memory()
    expect(peak).toBe(inUse)
  })

  test.each<[object, string[]]>([
    [{ max_sequence_length: 1024, author: 'A' }, ['max_sequence_length, author']],
    [{ hidden_dropout: 0 }, []],
    [{ quantization_config: { quant_algo: 'FP8', producer: { name: 'modelopt' } } }, ['quantization_config']],
  ])('%j: keys that transformers ignores change nothing, and are reported', async (entries, told) => {
    const folder = await changed(entries)
    const heard: string[] = []
    const options = { device, dtype: 'float32', onWarning: (message: string) => heard.push(message) } as const
    using model = await loadModel(folder, options)
    using base = await loadTiny('tiny-untied')
    expect(await logProbsOf(model, sequences)).toEqual(await logProbsOf(base, sequences))
    expect(model.base.identity()).toEqual(base.base.identity())
    using _ = await initModel(join(folder, 'config.json'), options)
    const path = join(folder, 'config.json')
    const wanted = (keys: string) => `${path}: keys are ignored, as transformers ignores them for llama: ${keys}.`
    const ofWeights = (keys: string) => (keys.startsWith('quant') ? unnamed(path) : wanted(keys))
    expect(heard).toEqual([...told.map(ofWeights), ...told.map(wanted)])
  })

  const unnamed = (path: string) =>
    `${path}: quantization_config is ignored, since it has no quant_method and all tensors are floats.`

  test('frees all memory if it fails on the way', async () => {
    const before = liveBytes(testDevice())
    const { limit } = testDevice().memory()
    using base = await loadTiny('tiny-untied')
    const { path } = base
    const loaded = liveBytes(testDevice()) - before
    base.dispose()
    testDevice().setMemoryLimit(testDevice().memory().inUse + loaded - 1024)
    try {
      await expect(loadModel(path, { device, dtype: 'float32' })).rejects.toThrow(/^Out of memory/)
      expect(liveBytes(testDevice())).toBe(before)
    } finally {
      testDevice().setMemoryLimit(limit)
    }
  })
})
