/** Adapters of every method: loaded, run, looked at and merged. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { adapterFacts } from '../../../lib/cli/inspect/adapter.js'
import { mergeModel } from '../../../lib/models/adaptation/merge-on-disk.js'
import { loadModel } from '../../../lib/models/load-model.js'
import { ADAPTER_METHODS } from '../../../lib/options/index.js'
import { quickFolder, writeFiles } from '../../io/temporary.js'
import type { Files, Target } from '../cases.js'
import { mutatedJson } from '../mutate-json.js'
import { choose, type Random } from '../random.js'
import { mutateSafetensors } from './safetensors-file.js'
import { bytesInUse, bytesOf, changed, filesIn, filesOfModel, jsonOf, onDevice, runModel } from './tiny-model.js'

const [config, weights] = ['adapter/adapter_config.json', 'adapter/adapter_model.safetensors']

export async function adapterTarget(): Promise<Target> {
  const base = quickFolder()
  const files = await filesOfModel((model, folder) => model.save(join(folder, 'model')))
  writeFiles(base, files)
  const model = await loadModel(join(base, 'model'), onDevice)
  const samples: Files[] = []
  for (const method of ADAPTER_METHODS) {
    const whole = method === 'lora' ? ['norms'] : []
    const operator = 'sharing'
    await model.addAdapter('sample', newAdapterConfig(method, { rank: 2, operator, modulesToSave: whole }))
    await model.saveAdapter('sample', join(base, 'saved', 'adapter'))
    model.removeAdapter('sample')
    samples.push(filesIn(join(base, 'saved')))
  }
  await runModel(model)
  const mutate = (random: Random, sample: Files): Files =>
    choose(random, [
      [1, () => changed(config, mutatedJson(random, jsonOf(sample, config)))],
      [1, () => changed(weights, mutateSafetensors(random, bytesOf(sample, weights)))],
    ])
  return {
    name: 'adapter',
    samples,
    mutate,
    async use(folder) {
      const adapter = join(folder, 'adapter')
      await adapterFacts(adapter, join(base, 'model'))
      await model.loadAdapter(adapter, 'fuzzed')
      try {
        await runModel(model)
      } finally {
        model.removeAdapter('fuzzed')
      }
      await mergeModel({
        ...onDevice,
        dtype: 'auto',
        model: join(base, 'model'),
        adapter,
        output: join(folder, 'merged'),
        overwrite: true,
      })
    },
    bytesInUse,
    dispose() {
      model.dispose()
      rmSync(base, { recursive: true, force: true })
    },
  }
}
