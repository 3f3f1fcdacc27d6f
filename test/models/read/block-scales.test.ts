/** How often the scales in a file's blocks are checked, which reads the whole file. */
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { loadModel, loadModelFor } from '../../../lib/models/index.js'
import { FileTensor } from '../../../lib/models/read/file-tensor.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { goldenPath } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const at = useTemporaryFolder()
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

test('once when a model is loaded, alone or with an adapter', async () => {
  const [path, folder] = [join(at(), 'model.gguf'), join(at(), 'adapter')]
  {
    using floats = await loadModel(goldenPath('tiny-untied/model'), { device: device as 'cpu', dtype: 'float32' })
    await floats.save(path, { dtype: 'q8_0' })
  }
  const names = [...(await ModelSource.open(path)).weights.keys()].sort()
  const looksAt = vi.spyOn(FileTensor.prototype, 'check')
  const lookedAt = () => looksAt.mock.contexts.map((tensor) => (tensor as FileTensor).name).sort()
  {
    using model = await loadModel(path, { device: device as 'cpu', quantised: true })
    expect(lookedAt()).toEqual(names)
    model.addAdapter('default', lora({ rank: 2 }))
    await model.saveAdapter('default', folder)
  }
  looksAt.mockClear()
  using _ = await loadModelFor({ adapter: folder }, path, { device: device as 'cpu', quantised: true })
  expect(lookedAt()).toEqual(names)
})
