/** Quantised checkpoints: their weights and what their configurations say of those. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readJsonObject } from '../../../lib/io/json.js'
import { readModelFolder } from '../../../lib/io/model-folder.js'
import { quantisedWeights } from '../../../lib/models/checkpoint/quantised/index.js'
import { readCodedWeight } from '../../../lib/models/checkpoint/quantised/read-coded-weight.js'
import { loadModel } from '../../../lib/models/load-model.js'
import { type NativeFile, native } from '../../../lib/native.js'
import { goldenPath, lacksGolden } from '../../golden/files.js'
import { testDevice } from '../../operations/harness.js'
import type { Files, Target } from '../cases.js'
import { mutatedJson } from '../mutate-json.js'
import { choose } from '../random.js'
import { mutateSafetensors } from './safetensors-file.js'
import { bytesInUse, bytesOf, changed, jsonOf, onDevice, runModel } from './tiny-model.js'

/** One of each reader: those beside the tests, and the others. */
const sets = ['bnb-fp4', 'gptq-4-g32-asym-zero', 'mxfp4']
const otherSets = ['bnb-nf4-double', 'bnb-int8', 'awq-g32', 'ct-int4-g32-act', 'ct-fp8-channel', 'fp8-block']
export const lacksOtherSets =
  otherSets.map((set) => lacksGolden(`quantised/${set}`)).find((one) => one !== null) ?? null

export const quantisedTarget = (): Promise<Target> => targetOf('quantised', sets)
export const otherQuantisedTarget = (): Promise<Target> => targetOf('quantised-others', otherSets)

const [weights, configuration] = ['model.safetensors', 'config.json']

async function targetOf(name: string, names: readonly string[]): Promise<Target> {
  const folders = names.map((set) => goldenPath(`quantised/${set}`))
  return {
    name,
    samples: folders.map(
      (folder): Files => new Map([weights, configuration].map((name) => [name, readFileSync(join(folder, name))])),
    ),
    mutate: (random, files) =>
      choose(random, [
        [3, () => changed(weights, mutateSafetensors(random, bytesOf(files, weights)))],
        [
          2,
          () =>
            changed(
              configuration,
              withSettings(files, (settings) => mutatedJson(random, settings)),
            ),
        ],
      ]),
    async use(folder) {
      const { model_type: family, quantization_config: settings } = await readJsonObject(join(folder, configuration))
      // No model here has the experts of this family.
      if (family === 'gpt_oss') return readWeights(folder, settings)
      using model = await loadModel(folder, onDevice)
      await runModel(model)
    },
    bytesInUse,
  }
}

/** Unpacks all quantised weights, without a model. */
async function readWeights(folder: string, settings: unknown): Promise<void> {
  const files: NativeFile[] = []
  const open = (path: string): NativeFile => {
    const file = native.openFile(path)
    files.push(file)
    return file
  }
  try {
    const tensors = await readModelFolder(folder)
    for (const weight of quantisedWeights(settings, join(folder, configuration), tensors, open).weights) {
      using matrix = readCodedWeight(weight, testDevice(), open)
      await matrix.data()
    }
  } finally {
    for (const file of files) file.close()
  }
}

/** The configuration with a changed `quantization_config`; the rest has a target of its own. */
function withSettings(files: Files, change: (settings: unknown) => string): string {
  const json = jsonOf(files, configuration) as Record<string, unknown>
  const { quantization_config: settings, ...rest } = json
  return `${JSON.stringify(rest).slice(0, -1)},"quantization_config":${change(settings)}}`
}
