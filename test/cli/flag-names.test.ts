import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inFlags } from '../../lib/cli/flag-names.js'
import { DashboardSchema, InspectSchema, TrainSchema } from '../../lib/options/index.js'
import { kebabCase } from '../../lib/schema/names.js'

describe('a sentence of the library on the command line', () => {
  it.each([
    ['give the option output.', 'give --output.'],
    ['The option compute is int8, but no', '--compute is int8, but no'],
    ['continue it with the option resume, or not', 'continue it with --resume, or not'],
    ['train it whole (modulesToSave).', 'train it whole (--modules-to-save).'],
    ["ignore it (the option ignoreColumns: ['maxSteps', 'b'])", 'ignore it (--ignore-columns maxSteps,b)'],
    ["both (modulesToSave: ['embeddings', 'head']), or", 'both (--modules-to-save embeddings,head), or'],
    ['; the option quantised: false turns them into float32', '; --no-quantised turns them into float32'],
    ["as in the option columns: { prompt: 'query', completion: 'a.b' }", 'as in --columns prompt=query,completion=a.b'],
    ['with the option quantised: true they stay', 'with --quantised they stay'],
    ['merge it (the option format: gguf or safetensors).', 'merge it (--format gguf or safetensors).'],
    [
      "had learningRate 0.1; with the option allowChanges: ['learningRate'].",
      'had --learning-rate 0.1; with --allow-changes learning-rate.',
    ],
  ])('%s', (sentence, told) => {
    expect(inFlags(sentence)).toBe(told)
  })

  it.each([
    'no model lies at runs/maxLength/model',
    'it is called "maxLength"',
    'the output of the model, its rank and data',
  ])('keeps words that are not names of options: %s', (sentence) => {
    expect(inFlags(sentence)).toBe(sentence)
  })
})

it("outside of the command line's own folders no sentence names a flag", () => {
  const lib = join(import.meta.dirname, '..', '..', 'lib')
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  const ofTheLibrary = files.filter((name) => !/^(cli|demo|options|schema)\//.test(name))
  const lines = ofTheLibrary.flatMap((name) => readFileSync(join(lib, name), 'utf8').split('\n'))
  const flags = Object.keys({ ...TrainSchema.shape, ...InspectSchema.shape, ...DashboardSchema.shape }).map(kebabCase)
  const naming = lines.filter((line) => {
    const [, flag] = /^[^/*]*['"`].*[ (]--(?:no-)?([a-z-]+)/.exec(line) ?? []
    return flag !== undefined && flags.includes(flag)
  })
  // Model cards name commands.
  expect(naming.filter((line) => !/--adapter [$T]|generate --model|`mora eval \$/.test(line))).toEqual([])
})
