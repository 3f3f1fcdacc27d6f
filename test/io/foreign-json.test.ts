/** Numbers in files for other programs have the types that those programs declare. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { foreignJson, type JsonObject, readForeignJson, withEntries } from '../../lib/io/json.js'
import { fileOf, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()

const again = async (text: string, more: JsonObject = {}) =>
  foreignJson(withEntries(await readForeignJson(fileOf(folder(), 'read.json', text)), more))

/** The literals of a text outside of its layout. */
const literals = (text: string) => text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"]+?(?=[,\s\]}:])/g)

test('the configurations of all families keep each number as it is written', async () => {
  const paths = readdirSync(join(import.meta.dirname, '../golden'), { recursive: true }) as string[]
  const configs = paths.filter((path) => /config[\w-]*\.json$/.test(path))
  expect(configs.length).toBeGreaterThan(20)
  for (const path of configs) {
    const text = `${readFileSync(join(import.meta.dirname, '../golden', path), 'utf8').trim()}\n`
    const wholeFloats = (json: string) => json.replace(/": -?\d+\.0(?=,?$)/gm, (entry) => entry.slice(0, -2))
    const written = await again(text)
    // Where a file has 6 for a float, 6.0 is written.
    if (literals(written)?.join() !== literals(text)?.join())
      expect(literals(wholeFloats(written)), path).toEqual(literals(wholeFloats(text)))
    for (const number of text.match(/-?\d+\.\d+/g) ?? []) expect(written).toContain(number)
  }
})

test('what is read keeps its text at any depth and what is set does not', async () => {
  const numbers = '1.50, 50.0, -0.0, 1E5, 1e-08, 12345678901234567890, Infinity, -Infinity, NaN, 7'
  const text = `{"a": 50.0, "b": {"c": 1e10, "d": [${numbers}]}, "other": 10000, "text": "Infinity 1.0", "f": 2.0}`
  const layout = (json: string) => json.trim().replace(/(?<=[[{,])\s+|\s+(?=[\]}])/g, '')
  expect(layout(await again(text, { f: 3, head_dim: 4, eps: 5 }))).toBe(
    `${layout(text).replace('2.0}', '3')},"head_dim": 4,"eps": 5.0}`,
  )
  await expect(again('{"a": 1.}')).rejects.toThrow(/not valid JSON/)
  await expect(again('[1.0]')).rejects.toThrow(/expected a JSON object/)
})

test.each<[string, object, string[]]>([
  [
    'floats that are whole',
    { rope_theta: 10000, llm_int8_threshold: 6 },
    ['"rope_theta": 10000.0,', '"llm_int8_threshold": 6.0'],
  ],
  [
    'zero and what is below',
    { lora_dropout: 0, mscale: -1, d_initial: -0 },
    ['"lora_dropout": 0.0,', '"mscale": -1.0,', '"d_initial": 0.0'],
  ],
  [
    'fractions and exponents',
    { rms_norm_eps: 1e-6, eps: 1e-7, factor: 1e21 },
    ['"rms_norm_eps": 0.000001,', '"eps": 1e-7,', '"factor": 1e+21'],
  ],
  ['integers', { vocab_size: 32000, lora_alpha: 16, r: 8 }, ['"vocab_size": 32000,', '"lora_alpha": 16,', '"r": 8']],
  [
    'entries of entries',
    { rope_scaling: { factor: 8, original_max_position_embeddings: 64 } },
    ['    "factor": 8.0,', '    "original_max_position_embeddings": 64'],
  ],
  [
    'lists',
    { short_factor: [1, 1.5, 2], long_factor: [], ids: [1, 2] },
    ['    1.0,', '    1.5,', '    2.0', '"long_factor": [],', '    1,', '    2'],
  ],
  [
    'nothing, and what is no number',
    { attn_logit_softcapping: null, factor: '8', mscale: true },
    ['"attn_logit_softcapping": null,', '"factor": "8",', '"mscale": true'],
  ],
])('%s', (_, value, lines) => {
  const text = foreignJson(value)
  for (const line of lines) expect(text.split('\n').map((one) => one.trim())).toContain(line.trim())
  expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
})

test('texts stay unchanged, whatever they contain', () => {
  const hostile = ['"factor": 6', '\n  "rope_theta": 6,\n', ' "eps": [\n 1\n]', '"mscale": 1', ']']
  const value = { text: hostile[1], list: hostile, factor: hostile, 'a": 1, "eps': 1, '"rope_theta': 2 }
  expect(JSON.parse(foreignJson(value))).toEqual(value)
  expect(foreignJson(value)).toBe(`${JSON.stringify(value, null, 2)}\n`)
})
