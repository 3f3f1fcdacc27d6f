import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The model to measure: the given one, else the first GGUF file of the test assets. */
export function modelPath(given) {
  if (given && !existsSync(given)) throw new Error(`There is no model at ${given}.`)
  if (given) return given
  const folder = process.env.MORA_TEST_ASSETS && join(process.env.MORA_TEST_ASSETS, 'models')
  const file = folder && readdirSync(folder).find((name) => name.endsWith('.gguf'))
  if (file) return join(folder, file)
  throw new Error('Name a model (a folder or a .gguf file), or set MORA_TEST_ASSETS to a folder with models/*.gguf.')
}
