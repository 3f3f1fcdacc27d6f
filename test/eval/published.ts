/** Golden data of published rules: a few entries of each file are in the repository, all of them in MORA_TEST_ASSETS. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe } from 'vitest'
import { assetPath, lacksAsset } from '../assets.js'
import { needing } from '../needs.js'

const few = join(dirname(fileURLToPath(import.meta.url)), '../golden/evaluation')

/** Calls `body` with the path of the few entries of a file, and with that of all. */
export function evaluationSizes(name: string, body: (file: string) => void): void {
  describe(`a few entries of ${name}`, () => body(join(few, name)))
  const lacking = lacksAsset(join('golden/evaluation', name), 'golden data')
  if (lacking) needing(lacking).test(`all entries of ${name}`, () => {})
  else describe(`all entries of ${name}`, () => body(assetPath(join('golden/evaluation', name))))
}

export const evaluationJson = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T
