import { join } from 'node:path'
import { readModelFolder } from '../../../../lib/io/model-folder.js'
import { quantisedWeights } from '../../../../lib/models/read/formats/index.js'
import { type NativeFile, native } from '../../../../lib/native/addon.js'
import type { CodedWeight } from '../../../../lib/tensor/coded-weight.js'
import { writeRawTensors } from '../../../golden/tensor-files.js'
import { testDevice } from '../../../operations/harness.js'
import type { Encoded } from './encoders.js'

/** The one weight of a checkpoint that has no other, by way of a file in a folder. */
export async function readEncoded(
  path: string,
  { settings, tensors }: Pick<Encoded, 'settings' | 'tensors'>,
): Promise<CodedWeight> {
  writeRawTensors(join(path, 'model.safetensors'), tensors)
  const files: NativeFile[] = []
  const open = (file: string) => {
    files.push(native.openFile(file))
    return files.at(-1)!
  }
  try {
    const { weights } = quantisedWeights(settings, 'config.json', await readModelFolder(path), open)
    if (weights.length !== 1) throw new Error(`There are ${weights.length} quantised weights.`)
    return weights[0]!.readKept(testDevice(), open)
  } finally {
    for (const file of files) file.close()
  }
}
