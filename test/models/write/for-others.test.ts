/** Folders of models and adapters for programs in Python: numbers that these declare as floats are written as floats. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { initModel, loadModel, mergeModel } from '../../../lib/models/index.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../../lib/options/index.js'
import { describeFamilies, familyNames, lacksInGguf, loadFamily } from '../../golden/families.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

/** Types in the classes of transformers 5.24 and PEFT 0.21, as `key: type`. */
const declared: Readonly<Record<'float' | 'int', RegExp>> = {
  float:
    /^(\w+_eps|eps|layer_norm_epsilon|initializer_range|\w+_dropout|\w+_pdrop|rope_theta|rope_local_base_freq|partial_rotary_factor|factor|(low|high)_freq_factor|(attention|short|long)_factor|beta_(fast|slow)|mscale\w*|(attention|embedding|residual)_multiplier|logits_scaling|(attn|final)_logit_softcapping|llm_int8_threshold|d_initial)$/,
  int: /^(\w+_size|num_\w+|\w+_token_id|max_\w+|head_dim|n_\w+|query_pre_attn_scalar|sliding_window|r|\w+_alpha|alpha|delora_lambda|oft_block_size|gralora_k|hybrid_r|projection_prng_key|mini_r)$/,
}

/** The numbers in a text as written, by key; numbers of a list under the key of the list. */
function* numbersIn(text: string): Generator<[key: string, number: string]> {
  for (const [, key, value] of text.matchAll(/"(\w+)":\s*(-?[\d.e+-]+|\[[^\]"]*\])/g))
    for (const [number] of value!.matchAll(/-?\d[\d.e+-]*/g)) yield [key!, number]
}

/** Checks the files of a folder for other programs; returns the number of floats in them. */
function checkTypes(folder: string): number {
  let floats = 0
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
    for (const [key, number] of numbersIn(readFileSync(join(folder, name), 'utf8'))) {
      const isFloat = /[.e]/.test(number)
      const type = isFloat ? 'float' : 'int'
      if (isFloat) floats++
      for (const [other, keys] of Object.entries(declared))
        if (keys.test(key)) expect(type, `${name}: ${key} ${number}`).toBe(other)
    }
  }
  return floats
}

/** Whole numbers where any may be, as hand-written configurations and GGUF metadata have them. */
const whole = {
  rms_norm_eps: 1,
  initializer_range: 1,
  attention_dropout: 0,
  rope_theta: 10000,
  rope_scaling: { rope_type: 'yarn', factor: 4, beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 16 },
}

describe('a model', () => {
  test('merged to NF4 has settings that bitsandbytes accepts', async () => {
    using model = await loadTiny('tiny-untied')
    await model.addAdapter('a', newAdapterConfig('lora', newAdapterOptions({ method: 'lora' })))
    await model.saveAdapter('a', at('adapter'))
    await mergeModel({ model: model.path, adapter: at('adapter'), output: at('nf4'), quantise: 'nf4', device })
    expect(readFileSync(at('nf4/config.json'), 'utf8')).toContain('"llm_int8_threshold": 6.0')
    expect(checkTypes(at('nf4'))).toBeGreaterThan(1)
  })

  test('of whole numbers is written with floats, and means the same', async () => {
    using tiny = await loadTiny('tiny-untied')
    writeFileSync(at('config.json'), JSON.stringify({ ...tiny.config.json, ...whole }))
    using model = await initModel(at('config.json'), { device, dtype: 'float32' })
    await model.save(at('whole'))
    expect(checkTypes(at('whole'))).toBe(7)
    using again = await loadModel(at('whole'), { device, dtype: 'float32' })
    expect(again.config).toEqual(model.config)
  })
})

describeFamilies(familyNames, (name, folder) => {
  test('is written with floats, also out of a GGUF file', async () => {
    using model = await loadFamily(folder)
    await model.save(at('folder'), { dtype: 'float32' })
    expect(checkTypes(at('folder'))).toBeGreaterThan(1)
    if (lacksInGguf.has(name)) return
    await model.save(at('file.gguf'), { dtype: 'float32' })
    using other = await loadModel(at('file.gguf'), { device, dtype: 'float32' })
    await other.save(at('from-gguf'), { dtype: 'float32' })
    expect(checkTypes(at('from-gguf'))).toBeGreaterThan(0)
  })
})

test.each(ADAPTER_METHODS)('an adapter of %s', async (method) => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', newAdapterConfig(method, newAdapterOptions({ method, rank: 4 })))
  await model.saveAdapter('a', at('adapter'))
  expect(checkTypes(at('adapter'))).toBeGreaterThan(method === 'shira' ? -1 : 0)
})
