/** Quantised checkpoints: their weights, and the configuration of the quantisation. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from '../../../lib/models/load-model.js'
import { goldenPath, lacksGolden } from '../../golden/files.js'
import type { Files, Target } from '../cases.js'
import { mutatedJson } from '../mutate-json.js'
import { choose } from '../random.js'
import { mutateSafetensors } from './safetensors-file.js'
import { bytesInUse, bytesOf, changed, jsonOf, onDevice, runModel } from './tiny-model.js'

/** One of each reader: those beside the tests, and the others. */
const sets = ['bnb-fp4', 'gptq-4-g32-asym-zero']
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
      using model = await loadModel(folder, onDevice)
      await runModel(model)
    },
    bytesInUse,
  }
}

/** The configuration with a changed `quantization_config`; the rest has a target of its own. */
function withSettings(files: Files, change: (settings: unknown) => string): string {
  const json = jsonOf(files, configuration) as Record<string, unknown>
  const { quantization_config: settings, ...rest } = json
  return `${JSON.stringify(rest).slice(0, -1)},"quantization_config":${change(settings)}}`
}
