/** Numbers in files for other programs have the types that those programs declare. */
import { expect, test } from 'vitest'
import { foreignJson } from '../../lib/io/json.js'

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
