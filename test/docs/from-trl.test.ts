/** The page for users of TRL and PEFT names options that exist. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { loadFields } from '../../lib/models/load-options.js'
import { TrainSchema } from '../../lib/options/index.js'
import { root } from './blocks.js'

/** Options of `train` that only the library has. */
const OF_CALLS = ['onEvent', 'ranks']

const text = readFileSync(join(root, 'docs/from-trl-and-peft.md'), 'utf8')
const known = new Set([...Object.keys(TrainSchema.shape), ...Object.keys(loadFields), ...OF_CALLS])
/** The first two cells of a table's rows below a title. */
const rowsOf = (title: string) =>
  text
    .slice(text.indexOf(`\n## ${title}\n`))
    .split(/\n## /)[1]!
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(' | '))

const namesIn = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map((found) => found[1]!)

it.each([
  ['TrainingArguments', 90],
  ['SFTConfig', 20],
  ['DPOConfig', 20],
  ['GRPOConfig', 60],
  ['LoraConfig', 40],
])('of %s each argument has an option or none', (title, least) => {
  const rows = rowsOf(title)
  const there = rows.flatMap(([argument]) => namesIn(argument!))
  expect(new Set(there).size).toBe(there.length)
  expect(there.length).toBeGreaterThanOrEqual(least)
  for (const [argument, own] of rows) {
    const names = namesIn(own!)
    expect([argument, names.filter((name) => !known.has(name))]).toEqual([argument, []])
    expect(names.length > 0 || own === 'none', argument).toBe(true)
  }
})

it('each option in its text exists', () => {
  const here = text.split('\n').flatMap((line) => (line.startsWith('| ') ? namesIn(line.split(' | ')[2] ?? '') : []))
  const options = here.flatMap((name) => /^([a-z]+[A-Z][a-zA-Z]*)(: .*)?$/.exec(name)?.[1] ?? [])
  const functions = ['addAdapter', 'loadModel', 'loadAdapter']
  expect(options.filter((name) => !known.has(name) && !functions.includes(name))).toEqual([])
})
