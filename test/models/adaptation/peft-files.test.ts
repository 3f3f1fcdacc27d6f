/** Adapter folders as PEFT and other programs write them: missing optional keys, omitted layers, targets by expression. */
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { fromPython, toPython } from '../../../lib/adapters/contract/python-pattern.js'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora, moraTypes } from '../../../lib/adapters/methods/mora.js'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { writeSafetensors } from '../../../lib/io/safetensors.js'
import { loadModel } from '../../../lib/models/index.js'
import { OPERATORS } from '../../../lib/options/index.js'
import { entriesOf, goldenPath, readTensors } from '../../golden/files.js'
import { loadTiny, logProbsOf } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

type Json = Record<string, unknown>

const temporary = useTemporaryFolder()
const configPath = (folder: string) => join(folder, 'adapter_config.json')
const readConfig = (folder: string) => JSON.parse(readFileSync(configPath(folder), 'utf8')) as Json
const code = (expected: string, message: RegExp) =>
  expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** A folder of PEFT with other entries in its configuration. */
function edited(source: string, entries: Json): string {
  const folder = join(temporary(), 'edited')
  cpSync(source, folder, { recursive: true })
  writeFileSync(configPath(folder), JSON.stringify({ ...readConfig(folder), ...entries }))
  return folder
}

const golden = goldenPath('methods/lora/final')

describe("missing keys have PEFT's default values", () => {
  const absent = Object.fromEntries(
    ['target_modules', 'rank_pattern', 'alpha_pattern', 'lora_dropout', 'bias', 'modules_to_save', 'lora_alpha'].map(
      (key) => [key, undefined],
    ),
  )

  test.each([undefined, null])('%s', async (value) => {
    using model = await loadTiny('tiny-untied')
    const entries = Object.fromEntries(Object.keys(absent).map((key) => [key, value]))
    expect(await model.loadAdapter(edited(golden, entries))).toMatchObject({ rank: 4, alpha: 8, dropout: 0 })
  })
})

describe('layers that PEFT left out', () => {
  test.each<[string, Json]>([
    ['layers_to_transform', { layers_to_transform: [1], layers_pattern: 'layers' }],
    ['exclude_modules', { exclude_modules: '.*layers\\.(0|2)\\..*' }],
  ])('%s', async (_, entries) => {
    using model = await loadTiny('tiny-untied')
    using again = await loadTiny('tiny-untied')
    const folder = join(temporary(), 'adapter')
    const paths = ['q_proj', 'v_proj'].map((name) => `model.layers.1.self_attn.${name}`)
    await model.addAdapter('a', lora({ rank: 4, targetModules: paths }))
    await model.saveAdapter('a', folder)
    const { targetModules } = await again.loadAdapter(
      edited(folder, { target_modules: ['q_proj', 'v_proj'], ...entries }),
      'a',
    )
    expect([...(targetModules as string[])].sort()).toEqual(paths)
    await again.saveAdapter('a', folder)
    expect([...(readConfig(folder).target_modules as string[])].sort()).toEqual(paths)
  })

  test('without a reason they are reported as missing', async () => {
    using model = await loadTiny('tiny-untied')
    const folder = join(temporary(), 'adapter')
    await model.addAdapter('a', lora({ rank: 4, targetModules: ['layers.1.self_attn.q_proj'] }))
    await model.saveAdapter('a', folder)
    const whole = edited(folder, { target_modules: ['q_proj'] })
    await expect(model.loadAdapter(whole, 'b')).rejects.toThrow(code('unfit-adapter', /2 layers for which it has no/))
  })
})

describe('targets that the model lacks', () => {
  const named = ['q_proj', 'v_proj', 'W_pack', 'query_key_value']

  test('are reported, if another one fits', async () => {
    using model = await loadTiny('tiny-untied')
    const heard: string[] = []
    const folder = edited(golden, { target_modules: named })
    const { targetModules } = await model.loadAdapter(folder, 'a', { onWarning: (message) => heard.push(message) })
    expect(targetModules).toEqual(['q_proj', 'v_proj'])
    expect(heard).toEqual([`The adapter ${folder} also targets W_pack, query_key_value, which the model lacks.`])
    using other = await loadTiny('tiny-untied')
    await other.loadAdapter(golden, 'a')
    const sequence = [[3, 1, 4, 1, 5]]
    expect(await logProbsOf(model, sequence)).toEqual(await logProbsOf(other, sequence))
  })

  test('are refused if none fits, if tensors belong to them, and for a new adapter', async () => {
    using model = await loadTiny('tiny-untied')
    const none = edited(golden, { target_modules: named.slice(2) })
    await expect(model.loadAdapter(none)).rejects.toThrow(code('no-target', /W_pack, query_key_value match no linear/))
    expect(() => model.addAdapter('a', lora({ rank: 4, targetModules: named }))).toThrow(
      code('no-target', /W_pack, query_key_value match no linear layer .* candidates: q_proj/),
    )
    const foreign = edited(golden, { target_modules: named })
    const path = join(foreign, 'adapter_model.safetensors')
    writeFileSync(path, readFileSync(path, 'latin1').replaceAll('.v_proj.', '.W_pack.'), 'latin1')
    await expect(model.loadAdapter(foreign)).rejects.toThrow(code('unfit-adapter', /layers that the model lacks, such/))
  })
})

describe('targets by a regular expression', () => {
  // The layers that Python's `re.fullmatch` selects, which is how PEFT reads a string.
  const selected = (expression: string, names: string[]) =>
    names.filter((name) => new RegExp(`^(?:${expression})$`).test(name))

  test.each([/self_attn\.[qv]/, /^model\.layers\.0\./, /down_proj$/, /layers\.[02]\.mlp/g, /UP_PROJ/i])(
    '%s is written so that PEFT selects the same layers',
    async (targetModules) => {
      using model = await loadTiny('tiny-untied')
      const folder = join(temporary(), 'adapter')
      await model.addAdapter('a', mora({ rank: 2, targetModules }))
      const adapted = model.linears().filter(({ adapters }) => adapters.has('a'))
      const names = model.linears().map(({ name }) => name)
      expect(adapted.map(({ name }) => name)).toEqual(names.filter((name) => name.search(targetModules) >= 0))
      await model.saveAdapter('a', folder)
      const { target_modules: written } = readConfig(folder)
      const targets = typeof written === 'string' ? selected(written, names) : (written as string[])
      expect(targets).toEqual(adapted.map(({ name }) => name))

      // Read and written again, the entry stays.
      using again = await loadTiny('tiny-untied')
      await again.loadAdapter(folder, 'a')
      await again.saveAdapter('a', folder)
      expect(readConfig(folder).target_modules).toEqual(written)
    },
  )

  test('of a file fits whole paths', async () => {
    using model = await loadTiny('tiny-untied')
    const folder = join(temporary(), 'adapter')
    await model.addAdapter('a', lora({ rank: 4, targetModules: ['layers.1.self_attn.q_proj'] }))
    await model.saveAdapter('a', folder)
    // Its first part would be found in the path of a layer that has no tensors, and fits none.
    const ofLayers = 'layers\\.0\\.self_attn|.*layers\\.1\\.self_attn\\.q_proj'
    await model.loadAdapter(edited(folder, { target_modules: ofLayers }), 'b')
    expect(model.adapters.size).toBe(2)
  })
})

describe("Python's regular expressions", () => {
  test.each([
    ['.*\\.q_proj\\Z', ['model.layers.0.self_attn.q_proj']],
    ['\\A.*\\.(?P<side>[qk])_proj', ['a.q_proj', 'a.k_proj']],
    ['(?P<n>.)x(?P=n)', ['axa']],
    ['layers\\.[]0]\\.q{,2}', ['layers.0.qq', 'layers.].']],
    ['(?:.*\\.)?(?=q)q_proj(?<!x)', ['q_proj', 'a.q_proj']],
    ['[[a].?', ['[', 'ab']],
  ])('%s', (pattern, names) => {
    const others = ['axb', 'x.v_proj', 'q_projx', 'layers.1.q', 'layers.0.qqq']
    const read = new RegExp(`^(?:${fromPython(pattern, 'file')})$`)
    expect([...names, ...others].filter((name) => read.test(name))).toEqual(names)
    expect(toPython(fromPython(pattern, 'file'))).not.toMatch(/\\k|\(\?<[^=!]/)
  })

  test('of a file give alphas and targets, and are written again as its own', async () => {
    using model = await loadTiny('tiny-untied')
    const patterns = { alpha_pattern: { '.*\\.q_proj\\Z': 40 }, target_modules: '.*(?P<x>[qv])_proj' }
    const config = await model.loadAdapter(edited(golden, patterns))
    expect(config).toMatchObject({ alphaPattern: { '.*\\.q_proj$': 40 } })
    using plain = await loadTiny('tiny-untied')
    await plain.loadAdapter(edited(golden, { alpha_pattern: { q_proj: 40 } }))
    expect(await logProbsOf(model, [[3, 1, 4]])).toEqual(await logProbsOf(plain, [[3, 1, 4]]))
    await model.saveAdapter('default', join(temporary(), 'saved'))
    expect(readConfig(join(temporary(), 'saved')).target_modules).toBe(patterns.target_modules)
  })
})

test('an adapter of the class without a head is read, with patterns about its own names', async () => {
  using model = await loadTiny('tiny-untied')
  const folder = edited(golden, { task_type: 'FEATURE_EXTRACTION', alpha_pattern: { '^layers\\.0\\..*': 40 } })
  const path = join(folder, 'adapter_model.safetensors')
  const tensors = [...readTensors(path)].map(
    ([name, tensor]) => [name.replace('model.model.', 'model.'), tensor] as const,
  )
  await writeSafetensors(path, entriesOf(new Map(tensors)))
  await model.loadAdapter(folder)
  using plain = await loadTiny('tiny-untied')
  await plain.loadAdapter(edited(golden, { alpha_pattern: { 'layers.0.*': 40 } }))
  expect(await logProbsOf(model, [[3, 1, 4]])).toEqual(await logProbsOf(plain, [[3, 1, 4]]))
})

test.each<[Json, string, RegExp]>([
  [
    { target_modules: '(?i)Q_PROJ' },
    'malformed-file',
    /target_modules has the regular expression "\(\?i\)Q_PROJ", which has \(\?i, known to Python alone: write names/,
  ],
  [{ target_modules: '.*q_pro(?#x)j' }, 'malformed-file', /has \(\?#, known to Python alone/],
  [{ target_modules: '(?>.*)q_proj' }, 'malformed-file', /has \(\?>/],
  [{ target_modules: '.*+q_proj' }, 'malformed-file', /possessive quantifier \*\+/],
  [{ alpha_pattern: { '.*\\.q_proj\\y': 4 } }, 'malformed-file', /has \\y, which is not supported here/],
  [{ rank_pattern: { '(q_proj': 4 } }, 'malformed-file', /"\(q_proj", which is not valid/],
  [{ rank_pattern: { q_proj: '4' } }, 'malformed-file', /positive numbers by regular expressions for rank_pattern/],
  [{ rank_pattern: [4] }, 'malformed-file', /rank_pattern/],
  [{ alpha_pattern: { q_proj: -1 } }, 'malformed-file', /alpha_pattern/],
  [{ lora_alpha: -16 }, 'malformed-file', /a positive number for lora_alpha but found -16: merge it with PEFT/],
  [{ lora_alpha: '16' }, 'malformed-file', /a positive number for lora_alpha but found "16"\.$/],
  [
    { bias: 'all' },
    'unsupported-option',
    /bias "all"; only "none" is supported: merge it with PEFT \(merge_and_unload/,
  ],
  [{ init_lora_weights: 'pissa_niter_4' }, 'unsupported-option', /path_initial_model_for_weight_conversion, or merge/],
  [
    { init_lora_weights: 'loftq' },
    'unsupported-option',
    /loftq: it belongs to a changed base model; merge it with PEFT/,
  ],
  [
    { use_dora: true, use_rslora: true },
    'unsupported-option',
    /use_dora and use_rslora together, which is not available: merge/,
  ],
  [{ peft_type: 'IA3' }, 'unknown-method', /peft_type "IA3", which is not available: merge it with PEFT/],
  [{ peft_type: 'PROMPT_TUNING' }, 'unknown-method', /which is not available\.$/],
  [{ trainable_token_indices: [1] }, 'unsupported-option', /not supported: merge it with PEFT/],
  [{ node_mora: { method: 'lora-x' } }, 'unknown-method', /has the method "lora-x", which is not available/],
  [
    { task_type: 'SEQ_CLS', modules_to_save: ['classifier', 'score'] },
    'unsupported-option',
    /has the task_type "SEQ_CLS": it trained a head other than a language model's \(classifier, score\), which is not/,
  ],
  [{ peft_type: 'ADALORA' }, 'unknown-method', /peft_type "ADALORA"/],
  [{ peft_type: 'LILY' }, 'unknown-method', /"LILY", which is not available: its router averages over all tokens/],
])('%j is refused by name', async (entries, expected, message) => {
  using model = await loadTiny('tiny-untied')
  await expect(model.loadAdapter(edited(golden, entries))).rejects.toThrow(code(expected, message))
  expect(model.adapters.size).toBe(0)
})

describe('the configuration of a MoRA adapter', () => {
  // Fields of LoraConfig in the authors' fork of PEFT 0.9, which refuses any other.
  const REFERENCE_KEYS = [
    'peft_type',
    'auto_mapping',
    'base_model_name_or_path',
    'revision',
    'task_type',
    'inference_mode',
    'r',
    'target_modules',
    'lora_alpha',
    'lora_dropout',
    'fan_in_fan_out',
    'bias',
    'use_rslora',
    'modules_to_save',
    'init_lora_weights',
    'layers_to_transform',
    'layers_pattern',
    'rank_pattern',
    'alpha_pattern',
    'megatron_config',
    'megatron_core',
    'loftq_config',
    'use_dora',
    'use_mora',
    'mora_type',
  ]
  const foreign = (folder: string) => Object.keys(readConfig(folder)).filter((key) => !REFERENCE_KEYS.includes(key))

  test.each(OPERATORS.filter((operator) => moraTypes[operator] !== null))(
    'of %s has the keys of the reference and no others',
    async (operator) => {
      using model = await loadTiny('tiny-untied')
      const folder = join(temporary(), 'adapter')
      model.addAdapter('a', mora({ rank: 2, operator, dropout: 0.1, modulesToSave: ['norms'] }))
      await model.saveAdapter('a', folder)
      expect(foreign(folder)).toEqual([])
      expect(readConfig(folder)).toMatchObject({ use_mora: true, mora_type: moraTypes[operator], r: 2 })
    },
  )

  test.each<[string, object]>([
    ['mora_operator', { operator: 'decoupling' }],
    ['mora_operator', { operator: 'truncation' }],
    ['mora_scale', { scale: 2 }],
    ['mora_fold_output', { foldOutput: true }],
    ['mora_round_rank', { roundRank: 8 }],
    ['mora_permutation', { operator: 'sharing', permutation: { seed: 1, cycle: 2 } }],
  ])('has %s, which the reference refuses, if the reference would compute something else: %j', async (key, options) => {
    using model = await loadTiny('tiny-untied')
    const folder = join(temporary(), 'adapter')
    const config = mora({ rank: 2, ...options })
    await model.addAdapter('a', config)
    await model.saveAdapter('a', folder)
    expect(foreign(folder)).toEqual([key])
    model.removeAdapter('a')
    expect(await model.loadAdapter(folder)).toEqual({ ...config, targetModules: expect.any(Array) })
  })
})

test.each(['mora', 'lora-plus', 'pissa'] as const)(
  'an adapter of %s names no folder of this machine',
  async (method) => {
    using model = await loadTiny('tiny-untied')
    const folder = join(temporary(), 'adapter')
    await model.addAdapter('a', newAdapterConfig(method, { rank: 2 }))
    await model.saveAdapter('a', folder)
    expect(isAbsolute(model.path)).toBe(true)
    expect(readConfig(folder).base_model_name_or_path).toBe('model')
    for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
      expect(readFileSync(join(folder, file), 'latin1')).not.toContain(dirname(model.path))
    }
  },
)

test('an adapter of a head that is tied here is refused with the reason', async () => {
  using model = await loadTiny('tiny-untied')
  using tied = await loadTiny('tiny-tied-llama3-rope')
  const folder = join(temporary(), 'adapter')
  await model.addAdapter('a', lora({ rank: 2, targetModules: ['lm_head'] }))
  await model.saveAdapter('a', folder)
  await expect(tied.loadAdapter(folder)).rejects.toThrow(code('no-form', /lm_head is tied to model\.embed_tokens/))
})

describe('folders that are something else', () => {
  test('are named for what they are, with the command to use', async () => {
    using model = await loadTiny('tiny-untied')
    const run = join(temporary(), 'run')
    mkdirSync(join(run, 'model'), { recursive: true })
    writeFileSync(join(run, 'model', 'config.json'), '{}')
    const inside = join(run, 'model')
    await expect(model.loadAdapter(run)).rejects.toThrow(
      code(
        'not-an-adapter',
        new RegExp(`run in "${run}" changed the whole model and has no adapter; use ${inside} as`),
      ),
    )
    await expect(loadModel(run)).rejects.toThrow(code('not-a-model', new RegExp(`"${run}" has none; use ${inside}`)))
    await expect(loadModel(golden)).rejects.toThrow(code('not-a-model', /it holds an adapter: give it as the adapter/))
    const pickled = edited(golden, {})
    renameSync(join(pickled, 'adapter_model.safetensors'), join(pickled, 'adapter_model.bin'))
    await expect(model.loadAdapter(pickled)).rejects.toThrow(
      code(
        'not-an-adapter',
        new RegExp(`"${pickled}" has its tensors as adapter_model.bin, a pickle .*save_pretrained`),
      ),
    )
    await expect(model.loadAdapter(join(run, 'absent'))).rejects.toThrow(code('missing-file', /There is no file/))
  })
})

test('a regular expression that V8 would compile for long is refused, in a sentence that does not hold it', async () => {
  using model = await loadTiny('tiny-untied')
  for (const entries of [{ target_modules: 'q'.repeat(100_000) }, { rank_pattern: { ['q'.repeat(9000)]: 4 } }]) {
    const refused = /has the regular expression "q+…q+", which is longer than 8192 characters: .{1,200}$/
    await expect(model.loadAdapter(edited(golden, entries))).rejects.toThrow(code('malformed-file', refused))
  }
})

test('a regular expression with exponential time is refused, with the path of its file', async () => {
  using model = await loadTiny('tiny-untied')
  for (const entries of [{ target_modules: '(.+)+$x' }, { rank_pattern: { '(.+)+$x': 4 } }]) {
    const folder = edited(golden, entries)
    await expect(model.loadAdapter(folder)).rejects.toThrow(code('slow-pattern', new RegExp(`^${folder}`)))
  }
})

test('an adapter that does not fit the model is reported with its path', async () => {
  using model = await loadTiny('tiny-untied')
  for (const entries of [{ r: 3 }, { target_modules: ['nothing_proj'] }, { target_modules: [''] }]) {
    const folder = edited(golden, entries)
    await expect(model.loadAdapter(folder)).rejects.toThrow(folder)
  }
})
