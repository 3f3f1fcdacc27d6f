/** Ollama's manifests, and the LoRA adapters that they list. */
import { createHash } from 'node:crypto'
import { loadModel } from '../../../lib/models/load-model.js'
import { goldenPath } from '../../golden/files.js'
import type { Files, Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutatedJson } from '../mutate-json.js'
import { choose } from '../random.js'
import { mutateGguf } from './gguf-file.js'
import { bytesInUse, bytesOf, changed, filesIn, jsonOf, onDevice, runModel, textOf } from './tiny-model.js'

const manifest = 'manifests/registry.ollama.ai/library/tiny/lora'
const adapter = 'blobs/sha256-b9d2d931ca97ce4cab7216cef378934d4b0eeac9e9766ae5e599cc8eb46b861c'

export async function ollamaTarget(): Promise<Target> {
  const files = filesIn(goldenPath('ollama/models'))
  /** Another adapter, whose hash and size the manifest has. */
  const otherAdapter = (bytes: Uint8Array): Files => {
    const hash = createHash('sha256').update(bytes).digest('hex')
    const text = textOf(files, manifest)
      .replace(adapter.slice(-64), hash)
      .replace('"size":9440', `"size":${bytes.length}`)
    return new Map<string, string | Uint8Array>([
      [manifest, text],
      [`blobs/sha256-${hash}`, bytes],
    ])
  }
  return {
    name: 'ollama',
    samples: [files],
    mutate: (random) =>
      choose(random, [
        [6, () => changed(manifest, mutatedJson(random, jsonOf(files, manifest)))],
        [1, () => changed(manifest, mutateBytes(random, bytesOf(files, manifest)))],
        [4, () => otherAdapter(mutateGguf(random, bytesOf(files, adapter)))],
      ]),
    async use(folder) {
      process.env.OLLAMA_MODELS = folder
      using model = await loadModel('ollama:tiny:lora', onDevice)
      await runModel(model)
    },
    alsoNamed: ['ollama:tiny:lora'],
    bytesInUse,
    dispose: () => void delete process.env.OLLAMA_MODELS,
  }
}
