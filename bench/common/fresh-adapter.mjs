import { loadModel } from 'node-mora'
import { adapterConfig } from './methods.mjs'

/** Writes a new adapter of a model into the folder `adapter`, from which every side of a comparison trains. */
export async function saveFreshAdapter(path, adapter, method, { dtype, threads }) {
  const model = await loadModel(path, { device: 'cpu', dtype, threads })
  await model.addAdapter('fresh', adapterConfig(method), { seed: 1 })
  await model.saveAdapter('fresh', adapter)
  const linears = model.linears().map(({ name, inFeatures, outFeatures }) => ({ name, inFeatures, outFeatures }))
  model.dispose()
  return linears
}
