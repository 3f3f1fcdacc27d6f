import { loadModel } from 'node-mora'

/**
 * Saves a model into the folder `copy` in one dtype, as all sides of a comparison read it. Resolves with what is of use
 * of the given model: `{ config, tokenizer, device }`.
 */
export async function copyModel(path, copy, { dtype, threads }) {
  const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads })
  await model.save(copy, { dtype })
  const { config, tokenizer, device } = model
  model.dispose()
  return { config, tokenizer, device }
}
