import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from 'node-mora'
import { textIds } from '../common/batch.mjs'
import { adapterConfig } from '../common/methods.mjs'
import { copyModel } from '../common/model-copy.mjs'
import { measurePeaks } from '../common/peaks.mjs'
import { productsOf } from './model-sizes.mjs'

/**
 * Writes the inputs of every side into `folder`: the model in float32, fresh adapters and tokens; and measures the machine
 * while nothing else runs.
 */
export async function prepare({ model: path, cases, rows, length, threads }, folder) {
  const copy = join(folder, 'model')
  await copyModel(path, copy, { dtype: 'float32', threads })
  // The adapters name the base that they belong to: the copy, which every side loads.
  const model = await loadModel(copy, { device: 'cpu', dtype: 'float32', threads })
  const { config, device } = model
  const trained = {}
  for (const { method } of cases) {
    if (method.label in trained) continue
    model.addAdapter(method.label, adapterConfig(method), { seed: 1 })
    trained[method.label] = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
    await model.saveAdapter(method.label, adapterFolder(folder, method))
    model.removeAdapter(method.label)
  }
  writeFileSync(tokenFile(folder), await textIds(model.tokenizer, rows, length))
  const linears = model.linears().map(({ name, inFeatures, outFeatures }) => ({ name, inFeatures, outFeatures }))
  model.dispose()
  device.trim()
  const products = productsOf(config, rows * length)
  const peaks = {}
  for (const dtype of new Set(cases.map((one) => one.dtype))) peaks[dtype] = await measurePeaks(device, dtype, products)
  device.trim()
  await device.synchronize()
  return { config, linears, trained, products, peaks, device: device.facts() }
}

export const adapterFolder = (folder, { name, rank }) => join(folder, `adapter-${name}-${rank}`)
export const tokenFile = (folder) => join(folder, 'tokens.bin')
