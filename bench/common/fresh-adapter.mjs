import { loadModel } from 'node-mora'
import { adapterConfig } from './methods.mjs'

/** Writes a new adapter for a model into the folder `adapter`; every side of a comparison trains from it. */
export async function saveFreshAdapter(path, adapter, method, { dtype, threads }) {
  const model = await loadModel(path, { device: 'cpu', dtype, threads })
  await model.addAdapter('fresh', adapterConfig(method), { seed: 1 })
  await model.saveAdapter('fresh', adapter)
  const linears = model.linears().map(({ name, inFeatures, outFeatures }) => ({ name, inFeatures, outFeatures }))
  model.dispose()
  return linears
}
