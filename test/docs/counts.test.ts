/** Numbers that documentation spells out are those of what they count. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ADAPTER_METHODS } from '../../lib/options/index.js'

const root = join(import.meta.dirname, '..', '..')
const read = (name: string) => readFileSync(join(root, name), 'utf8')
const WORDS = [
  'ten',
  'eleven',
  'twelve',
  'thirteen',
  'fourteen',
  'fifteen',
  'sixteen',
  'seventeen',
  'eighteen',
  'nineteen',
]
const inWords = (count: number) => WORDS[count - 10] ?? String(count)
const { dependencies } = JSON.parse(read('package.json'))

test.each([
  [
    'README.md',
    'methods beside MoRA and LoRA',
    ADAPTER_METHODS.length - 2,
    (count: string) => `LoRA, ${count} more adapter methods`,
  ],
  [
    'docs/trust.md',
    'packages',
    Object.keys(dependencies).length,
    (count: string) => `There are ${count} npm packages at run time`,
  ],
])('%s counts %s', (page, _, count, sentence) => {
  expect(read(page)).toContain(sentence(inWords(count)))
})
