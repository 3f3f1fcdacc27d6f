import { join } from 'node:path'
import { expect, test } from 'vitest'
import { initModel, loadModel } from '../../lib/models/index.js'
import type { LoadOptions } from '../../lib/models/load.js'
import { expectedOf, loadTiny, logProbsOf } from '../golden/tiny-models.js'

const { sequences } = expectedOf('tiny-untied')
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

test.each([
  [{ devise: 'cpu' }, 'Unknown option devise; did you mean device?'],
  [{ threads: -1 }, 'for threads but received -1.'],
  [{ threads: 1e6 }, 'up to 1024 for threads'],
  [{ dtype: 'int8' }, 'for dtype but received "int8".'],
])('options that are wrong are refused by name: %j', async (options, message) => {
  const refused = expect.objectContaining({ exitCode: 2, message: expect.stringContaining(message) })
  await expect(loadModel('absent', options as LoadOptions)).rejects.toThrow(refused)
  await expect(initModel('absent', options as LoadOptions)).rejects.toThrow(refused)
})

test('rotary frequencies have the precision that is asked for in a model of random weights, too', async () => {
  using base = await loadTiny('tiny-untied')
  const config = join(base.path, 'config.json')
  const logProbs = async (rotaryDtype: 'float32' | 'bfloat16') => {
    using model = await initModel(config, { device, dtype: 'float32', seed: 1, rotaryDtype })
    return await logProbsOf(model, sequences)
  }
  expect(await logProbs('bfloat16')).not.toEqual(await logProbs('float32'))
})
