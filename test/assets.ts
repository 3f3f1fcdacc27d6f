/** The folder that MORA_TEST_ASSETS names: models, templates, rows and golden data that are too large for the repository. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Lack, lack } from './needs.js'

const folder = process.env.MORA_TEST_ASSETS
if (folder && !statSync(folder, { throwIfNoEntry: false })?.isDirectory())
  throw new Error(`Expected a folder in MORA_TEST_ASSETS but ${folder} is none.`)

/** Returns the path of an asset; throws if it is missing, so tests ask `lacksAsset` first. */
export function assetPath(name: string): string {
  const path = folder && join(folder, name)
  if (!path || !existsSync(path)) throw new Error(`${name} of MORA_TEST_ASSETS is not at hand.`)
  return path
}

/** `kind` is its name in the summary of what is missing. */
export const lacksAsset = (name: string, kind: string): Lack =>
  lack(`${kind} of MORA_TEST_ASSETS: ${name}`, folder && existsSync(join(folder, name)))

export const REAL_MODEL = 'models/SmolLM2-135M-Instruct.Q4_1.gguf'
export const lacksRealModel = lacksAsset(REAL_MODEL, 'the model of 135 M')
export const lacksTemplates = lacksAsset('templates', 'chat templates')
