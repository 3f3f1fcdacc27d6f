import { loadModel } from 'node-mora'

/**
 * Saves a model in one dtype as `copy`, a folder or a GGUF file; all sides of a comparison read this copy. Resolves with the
 * model's `{ config, tokenizer, device }`.
 */
export async function copyModel(path, copy, { dtype, threads }) {
  const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads })
  await model.save(copy, { dtype })
  const { config, tokenizer, device } = model
  model.dispose()
  return { config, tokenizer, device }
}
