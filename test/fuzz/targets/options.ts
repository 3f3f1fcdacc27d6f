/** Options from YAML. */
import { join } from 'node:path'
import { resolveWithConfig } from '../../../lib/options/config-file.js'
import { TrainSchema } from '../../../lib/options/index.js'
import { checkTrainOptions } from '../../../lib/train/setup/resolve-options.js'
import type { Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutateText } from '../mutate-text.js'
import { choose } from '../random.js'
import { bytesOf, changed, textOf } from './tiny-model.js'

const plain = `# a run
model: models/tiny
data: [train.jsonl, "more.jsonl"]
method: mora
rank: 8
operator: rotation
learningRate: 3e-4
scheduler: cosine
targetModules: /q_proj|v_proj/
rankPattern:
  q_proj: 4
shuffle: false
`
const record = `options:
  model: &m tiny
  data:
    - *m
  rank: 4
  maxSteps: 10
machine: { device: cpu, threads: 2 }
versions: { node-mora: 0.1.0 }
`

export async function optionsTarget(): Promise<Target> {
  const name = 'options.yaml'
  return {
    name: 'options',
    samples: [changed(name, plain), changed(name, record)],
    mutate: (random, files) =>
      changed(
        name,
        choose<string | Uint8Array>(random, [
          [4, () => mutateText(random, textOf(files, name))],
          [1, () => mutateBytes(random, bytesOf(files, name))],
        ]),
      ),
    async use(folder) {
      const path = join(folder, name)
      checkTrainOptions(resolveWithConfig(TrainSchema, { config: path, output: 'out' }), { file: path })
    },
  }
}
