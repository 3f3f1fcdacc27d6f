/** Every skipped test says what is missing, and optional things are looked up in one way only. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { assetPath, lacksAsset } from './assets.js'
import { goldenPath, lacksGolden } from './golden/files.js'

test('missing data has a name, and asking for its path throws', () => {
  expect(lacksGolden('tiny-untied/model')).toBeNull()
  expect(lacksGolden('families/unicorn')).toBe('golden data of MORA_TEST_ASSETS: golden/families/unicorn')
  expect(lacksAsset('unicorns', 'animals')).toBe('animals of MORA_TEST_ASSETS: unicorns')
  expect(() => goldenPath('families/unicorn')).toThrow(
    /^golden\/families\/unicorn of MORA_TEST_ASSETS is not at hand\.$/,
  )
  expect(() => assetPath('unicorns')).toThrow('unicorns of MORA_TEST_ASSETS is not at hand.')
})

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' }).filter(
  (file) => /\.(ts|mjs)$/.test(file) && file !== 'needs.test.ts',
)
const filesWith = (pattern: RegExp) =>
  files.filter((file) => pattern.test(readFileSync(join(import.meta.dirname, file), 'utf8'))).sort()

test('no test is skipped without its reason', () => {
  const pattern = /\.(skipIf|runIf|todo)\b|\b(describe|test|it)\.skip\b|\bcontext\.skip\b|\{ skip \}/
  expect(filesWith(pattern)).toEqual(['needs.ts'])
})

test('only assets.ts looks for data that is not in the repository', () => {
  expect(filesWith(/process\.env\.MORA_TEST_ASSETS/)).toEqual(['assets.ts'])
  expect(filesWith(/\.\.\/shared['"`/]/)).toEqual([])
})
