/** Modules that are trained whole beside an adapter. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { writeSafetensors } from '../../../lib/io/safetensors.js'
import { initModel, loadModel, type Model, mergeModel } from '../../../lib/models/index.js'
import { drawn } from '../../drawn.js'
import { entriesOf, largestDifference, largestOf, readTensors } from '../../golden/files.js'
import {
  batchOf,
  expectedOf,
  gradientsOf,
  loadTiny,
  logProbsOf,
  type TinyModel,
  takeSteps,
} from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)
const tied: TinyModel = 'tiny-tied-llama3-rope'
// Its vocabulary is the smaller one.
const { sequences } = expectedOf(tied)
const batch = batchOf([{ input_ids: sequences[1]! }, { input_ids: sequences[0]! }])
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const code = (expected: string, message: RegExp) =>
  expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

const wholeNames = (model: Model) =>
  model
    .trainableParameters()
    .map(({ name }) => name)
    .filter((name) => /\.(weight|bias)$/.test(name))

const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
const savedTensors = (folder: string) => readTensors(join(folder, 'adapter_model.safetensors'))

interface Case {
  modulesToSave: string[]
  weights: string[]
  stored: string[]
}
const blocks = [0, 1, 2].map((i) => `model.layers.${i}`)
const cases: Case[] = [
  { modulesToSave: ['embeddings'], weights: ['model.embed_tokens.weight'], stored: ['embed_tokens'] },
  { modulesToSave: ['head'], weights: ['lm_head.weight'], stored: ['lm_head'] },
  {
    modulesToSave: ['norms'],
    weights: [
      ...blocks.flatMap((path) => [`${path}.input_layernorm.weight`, `${path}.post_attention_layernorm.weight`]),
      'model.norm.weight',
    ],
    stored: ['input_layernorm', 'post_attention_layernorm', 'norm'],
  },
  // PEFT matches a name with the end of a path, so `norm` alone would mean every norm.
  { modulesToSave: ['norm'], weights: ['model.norm.weight'], stored: ['model.norm'] },
  {
    modulesToSave: ['layers.1.mlp.down_proj', 'k_proj'],
    weights: [`${blocks[0]}.self_attn.k_proj.weight`, `${blocks[1]}.self_attn.k_proj.weight`]
      .concat(`${blocks[1]}.mlp.down_proj.weight`)
      .concat(`${blocks[2]}.self_attn.k_proj.weight`),
    stored: ['k_proj', 'model.layers.1.mlp.down_proj'],
  },
]

describe.each(drawn('modules to save', cases, 2))(
  'modules to save $modulesToSave',
  ({ modulesToSave, weights, stored }) => {
    test('start as they were, get gradients and change; nothing else of the base does', async () => {
      using model = await loadTiny('tiny-untied')
      const before = await logProbsOf(model, sequences)
      model.addAdapter('x', mora({ rank: 2, modulesToSave }))
      expect(await logProbsOf(model, sequences)).toEqual(before)
      expect(wholeNames(model)).toEqual(weights)
      expect(
        model.linears().filter(({ name, adapters }) => !adapters.has('x') && !weights.includes(`${name}.weight`)),
      ).toEqual([])
      for (const [name, gradient] of await gradientsOf(model, batch))
        expect(largestOf(gradient), name).toBeGreaterThan(0)

      const own = await Promise.all(model.slots.map(({ own }) => own.floats!.bits()))
      const trained = model.slots.filter(({ name }) => weights.includes(name))
      await takeSteps(model, batch, 1e-2, 2)
      expect(await Promise.all(model.slots.map(({ own }) => own.floats!.bits()))).toEqual(own)
      for (const { name, own, current } of trained) {
        const [was, is] = [await own.data(), await current.data()]
        expect(largestDifference(was, is), name).toBeGreaterThan(1e-3)
      }
    })

    test('are saved under the names of PEFT, and loaded as they were', async () => {
      using model = await loadTiny('tiny-untied')
      model.addAdapter('x', mora({ rank: 2, modulesToSave }))
      await takeSteps(model, batch, 1e-2, 2)
      await model.saveAdapter('x', at('x'))
      expect(new Set(configOf(at('x')).modules_to_save)).toEqual(new Set(stored))
      const whole = [...savedTensors(at('x')).keys()].filter((name) => !name.includes('lora_'))
      expect(new Set(whole)).toEqual(new Set(weights.map((name) => `base_model.model.${name}`)))

      using again = await loadTiny('tiny-untied')
      const config = await again.loadAdapter(at('x'))
      expect(new Set(config.modulesToSave)).toEqual(new Set(stored))
      expect(wholeNames(again)).toEqual(weights)
      expect(await logProbsOf(again, sequences)).toEqual(await logProbsOf(model, sequences))
      await again.saveAdapter('default', at('again'))
      expect(savedTensors(at('again'))).toEqual(savedTensors(at('x')))
    })

    test('are merged, in memory and on disk, and unmerged bit for bit', async () => {
      using model = await loadTiny('tiny-untied')
      const before = await logProbsOf(model, sequences)
      model.addAdapter('x', lora({ rank: 2, modulesToSave }))
      await takeSteps(model, batch, 1e-2, 2)
      const adapted = await logProbsOf(model, sequences)
      expect(largestDifference(before.flat(), adapted.flat())).toBeGreaterThan(1e-2)
      await model.saveAdapter('x', at('x'))
      const near = async (other: Model) =>
        expect(largestDifference((await logProbsOf(other, sequences)).flat(), adapted.flat())).toBeLessThan(5e-5)

      const { merged } = await model.mergeAdapter('x')
      await near(model)
      expect(model.trainableParameters()).toEqual([])
      await model.save(at('saved'), { dtype: 'float32' })
      expect(await mergeModel({ model: model.path, adapter: at('x'), output: at('merged'), device })).toMatchObject({
        merged,
      })
      expect(readTensors(join(at('merged'), 'model.safetensors'))).toEqual(
        readTensors(join(at('saved'), 'model.safetensors')),
      )
      using again = await loadModel(at('merged'), { device, dtype: 'float32' })
      await near(again)

      await model.unmergeAdapter('x')
      expect(await logProbsOf(model, sequences)).toEqual(adapted)
      model.setActiveAdapters([])
      expect(await logProbsOf(model, sequences)).toEqual(before)
    })

    test('are removed with their adapter, and left out of a model that is saved without it', async () => {
      using model = await loadTiny('tiny-untied')
      const before = await logProbsOf(model, sequences)
      const bytes = model.device.memory().inUse
      model.addAdapter('x', mora({ rank: 2, modulesToSave }))
      await takeSteps(model, batch, 1e-2, 1)
      await model.save(at('base'), { dtype: 'float32' })
      expect(readTensors(join(at('base'), 'model.safetensors'))).toEqual(
        readTensors(join(model.path, 'model.safetensors')),
      )
      model.removeAdapter('x')
      expect(await logProbsOf(model, sequences)).toEqual(before)
      expect(model.device.memory().inUse).toBe(bytes)
    })
  },
)

describe('gradients of modules trained whole', () => {
  test.each(['tiny-untied', tied] as const)('are those of full training: %s', async (name) => {
    using full = await loadTiny(name)
    full.trainAll()
    using model = await loadTiny(name)
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['embeddings', 'norms', 'head', 'v_proj'] }))
    const wanted = await gradientsOf(full, batch)
    const gradients = await gradientsOf(model, batch)
    const whole = wholeNames(model)
    const { layers, tiedEmbeddings, network } = model.config
    const attentionBias = network.blocks[0]!.mixer.projections[0]!.bias
    const [norms, values] = [2 * layers + 1, attentionBias ? 2 * layers : layers]
    expect(whole.length).toBe(norms + values + (tiedEmbeddings ? 1 : 2))
    for (const weight of whole) {
      const [got, full] = [gradients.get(weight)!, wanted.get(weight)!]
      expect(largestDifference(got, full), weight).toBeLessThan(1e-5 * largestOf(full))
    }
  })

  test('do not depend on recomputing', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['embeddings', 'norms', 'gate_proj'] }))
    const kept = await gradientsOf(model, batch)
    model.gradientCheckpointing = true
    expect(await gradientsOf(model, batch)).toEqual(kept)
  })

  test('are float32 beside bfloat16 weights, which the modules start from unrounded', async () => {
    using model = await loadTiny('tiny-untied', 'bfloat16')
    const before = await logProbsOf(model, sequences)
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['embeddings', 'head', 'o_proj'] }))
    expect(await logProbsOf(model, sequences)).toEqual(before)
    const source = readTensors(join(model.path, 'model.safetensors'))
    for (const { name, parameter } of model.trainableParameters()) {
      expect(parameter.dtype).toBe('float32')
      const original = source.get(name)
      if (original) expect(await parameter.data(), name).toEqual(original.values)
    }
    const gradients = await gradientsOf(model, batch)
    expect(gradients.size).toBe(model.trainableParameters().length)
  })
})

describe('tied embeddings (T17)', () => {
  test.each([['embeddings'], ['head'], ['lm_head', 'embed_tokens']])(
    'stay tied when %s is trained',
    async (...names) => {
      using model = await loadTiny(tied)
      const before = await logProbsOf(model, sequences)
      model.addAdapter('x', mora({ rank: 2, modulesToSave: names }))
      expect(await logProbsOf(model, sequences)).toEqual(before)
      expect(wholeNames(model)).toEqual(['model.embed_tokens.weight'])
      expect(model.head).toBe(model.embeddings)
      await takeSteps(model, batch, 1e-2, 2)
      await model.saveAdapter('x', at('x'))

      // Saved under both names, so that a program that unties them reads the same weights.
      expect(new Set(configOf(at('x')).modules_to_save)).toEqual(new Set(['embed_tokens', 'lm_head']))
      const saved = savedTensors(at('x'))
      expect(saved.get('base_model.model.lm_head.weight')).toEqual(
        saved.get('base_model.model.model.embed_tokens.weight'),
      )
      using again = await loadTiny(tied)
      await again.loadAdapter(at('x'))
      const adapted = await logProbsOf(model, sequences)
      expect(await logProbsOf(again, sequences)).toEqual(adapted)

      await mergeModel({ model: model.path, adapter: at('x'), output: at('merged'), dtype: 'float32', device })
      expect(readTensors(join(at('merged'), 'model.safetensors')).has('lm_head.weight')).toBe(false)
      using merged = await loadModel(at('merged'), { device, dtype: 'float32', rotaryDtype: 'bfloat16' })
      expect(largestDifference((await logProbsOf(merged, sequences)).flat(), adapted.flat())).toBeLessThan(5e-5)
    },
  )

  test('that another program trained separately are refused, unless it kept them tied', async () => {
    using model = await loadTiny(tied)
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['embeddings'] }))
    await model.saveAdapter('x', at('x'))
    const config = configOf(at('x'))
    const [embeddings, head] = ['base_model.model.model.embed_tokens.weight', 'base_model.model.lm_head.weight']
    const rewrite = async (changes: object, edit: (tensors: ReturnType<typeof savedTensors>) => void) => {
      const tensors = savedTensors(at('x'))
      edit(tensors)
      await writeSafetensors(join(at('x'), 'adapter_model.safetensors'), entriesOf(tensors))
      writeFileSync(join(at('x'), 'adapter_config.json'), JSON.stringify({ ...config, ...changes }))
    }
    using again = await loadTiny(tied)
    await rewrite({}, (tensors) => tensors.get(head)!.bytes.fill(0, 0, 4))
    await expect(again.loadAdapter(at('x'))).rejects.toThrow(
      code('unfit-adapter', /differ, but are tied in it: merge it with PEFT/),
    )
    await rewrite({ modules_to_save: ['embed_tokens'] }, (tensors) => tensors.delete(head))
    await expect(again.loadAdapter(at('x'))).rejects.toThrow(
      code('unfit-adapter', /embed_tokens.weight apart from lm_head.weight/),
    )
    await rewrite({ modules_to_save: ['embed_tokens'], ensure_weight_tying: true }, () => {})
    await again.loadAdapter(at('x'))
    expect(again.head).toBe(again.embeddings)
    expect(await again.embeddings.bits()).toEqual(await model.embeddings.bits())
    expect(savedTensors(at('x')).has(embeddings)).toBe(true)

    // PEFT also writes the tied head, under its own name or as its wrapper, and what was there before.
    using third = await loadTiny(tied)
    const whole = { modules_to_save: ['embed_tokens'], ensure_weight_tying: true }
    await rewrite(whole, (tensors) => {
      const table = tensors.get(embeddings)!
      tensors.set(head, table)
      tensors.set(head.replace('.weight', '.modules_to_save.weight'), table)
      tensors.set(head.replace('.weight', '.original_module.weight'), { ...table, bytes: table.bytes.map(() => 0) })
    })
    await third.loadAdapter(at('x'))
    expect(await third.embeddings.bits()).toEqual(await model.embeddings.bits())
    await rewrite(whole, (tensors) => tensors.get(head)!.bytes.fill(0, 0, 4))
    await expect(third.loadAdapter(at('x'), 'y')).rejects.toThrow(
      code(
        'unfit-adapter',
        /holds .*lm_head.*weight, which differs from .*embed_tokens.weight, to which it is tied: merge/,
      ),
    )
  })

  test('of GPT-2 are refused if its embeddings alone were trained: PEFT leaves its head as it was, also when told to tie it', async () => {
    const config = {
      model_type: 'gpt2',
      n_embd: 32,
      n_head: 2,
      n_layer: 1,
      n_positions: 32,
      vocab_size: 64,
      bos_token_id: 0,
    }
    writeFileSync(at('config.json'), JSON.stringify({ ...config, eos_token_id: 0 }))
    using model = await initModel(at('config.json'), { seed: 1, device })
    await model.addAdapter('x', lora({ rank: 2, modulesToSave: ['wte'] }))
    await model.saveAdapter('x', at('x'))
    const tensors = savedTensors(at('x'))
    tensors.delete('base_model.model.lm_head.weight')
    await writeSafetensors(join(at('x'), 'adapter_model.safetensors'), entriesOf(tensors))
    const written = { ...configOf(at('x')), modules_to_save: ['wte'], ensure_weight_tying: true }
    writeFileSync(join(at('x'), 'adapter_config.json'), JSON.stringify(written))
    await expect(model.loadAdapter(at('x'), 'y')).rejects.toThrow(
      code('unfit-adapter', /trained transformer.wte.weight apart from lm_head.weight, but they are tied in it: merge/),
    )
  })

  test('that an adapter only repeats are compared, and other numbers of tokens are told', async () => {
    using model = await loadTiny(tied)
    model.addAdapter('x', mora({ rank: 2 }))
    await model.saveAdapter('x', at('x'))
    const table = readTensors(join(model.path, 'model.safetensors')).get('model.embed_tokens.weight')!
    const [rows, width] = table.shape as [number, number]
    const withTable = async (more: number, change = 0) => {
      const values = new Float32Array((rows + more) * width)
      values.set(table.values)
      values[0]! += change
      const tensors = savedTensors(at('x'))
      for (const name of ['model.embed_tokens', 'lm_head'])
        tensors.set(`base_model.model.${name}.weight`, {
          shape: [rows + more, width],
          values,
          bytes: new Uint8Array(values.buffer),
        })
      await writeSafetensors(join(at('x'), 'adapter_model.safetensors'), entriesOf(tensors))
      return model.loadAdapter(at('x'), 'y')
    }
    await withTable(0)
    model.removeAdapter('y')
    await expect(withTable(0, 1)).rejects.toThrow(
      /differs from the model's, and modules_to_save does not name it: merge/,
    )
    await expect(withTable(2)).rejects.toThrow(/it has 2 tokens more than the model .*: merge it with PEFT/)
  })
})

describe('several adapters', () => {
  test('each have their own modules when switched', async () => {
    using model = await loadTiny('tiny-untied')
    const results: number[][][] = []
    for (const name of ['one', 'two']) {
      model.addAdapter(name, mora({ rank: 2, modulesToSave: ['embeddings', 'norms'] }), { seed: 1 })
      await takeSteps(model, batch, 1e-2, name === 'one' ? 1 : 2)
      results.push(await logProbsOf(model, sequences))
      model.setActiveAdapters([])
    }
    for (const [i, name] of ['one', 'two', 'one', 'two'].entries()) {
      model.setActiveAdapters([name])
      expect(await logProbsOf(model, sequences), name).toEqual(results[i % 2])
    }
  })

  test('cannot change one weight at the same time when one of them trains it whole', async () => {
    using model = await loadTiny('tiny-untied')
    const shared = code('shared-module', /Adapter one trains model.layers.0.self_attn.q_proj.weight whole/)
    model.addAdapter('one', mora({ rank: 2, modulesToSave: ['q_proj'] }))
    const bytes = model.device.memory().inUse
    expect(() => model.addAdapter('two', mora({ rank: 2 }))).toThrow(shared)
    expect(model.device.memory().inUse).toBe(bytes)
    expect([...model.adapters.keys()]).toEqual(['one'])
    model.addAdapter('beside', mora({ rank: 2, targetModules: ['k_proj'] }))
    model.setActiveAdapters([])
    model.addAdapter('two', mora({ rank: 2 }))
    expect(() => model.setActiveAdapters(['one', 'two'])).toThrow(shared)
    await expect(model.mergeAdapter('one')).rejects.toThrow(shared)
    expect(model.adapterSet.activeNames()).toEqual(['two'])
    await model.mergeAdapter('two')
    expect(() => model.setActiveAdapters(['one'])).toThrow(shared)
    await model.unmergeAdapter('two')
    model.setActiveAdapters(['one', 'beside'])
  })

  test("keep the model's own weights from being trained while they stand in for them", async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['norms'] }))
    await takeSteps(model, batch, 1e-2, 1)
    const adapted = await logProbsOf(model, sequences)
    expect(() => model.trainAll()).toThrow(code('modules-in-use', /Adapter x trains .*merge or remove it/))
    await model.mergeAdapter('x')
    model.trainAll()
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), adapted.flat())).toBeLessThan(5e-5)
    expect(model.trainableParameters().length).toBe(model.slots.length)
  })
})

describe('errors', () => {
  test('of names list the candidates (T27)', async () => {
    using model = await loadTiny('tiny-untied')
    const candidates = /nothing match no module .*: embeddings, norms, head, embed_tokens, .*q_proj.*, norm, lm_head\./
    const bytes = model.device.memory().inUse
    for (const modulesToSave of [['nothing'], ['norms', 'nothing']]) {
      expect(() => model.addAdapter('x', mora({ modulesToSave }))).toThrow(code('no-module', candidates))
    }
    expect(() => model.addAdapter('x', mora({ targetModules: ['q_proj'], modulesToSave: ['q_proj'] }))).toThrow(
      code('no-target', /trained whole/),
    )
    expect(model.device.memory().inUse).toBe(bytes)
  })

  test('of files that hold a module which the configuration does not name, or the reverse', async () => {
    using model = await loadTiny('tiny-untied')
    model.addAdapter('x', mora({ rank: 2, modulesToSave: ['head'] }))
    await takeSteps(model, batch, 1e-2, 1)
    await model.saveAdapter('x', at('x'))
    model.removeAdapter('x')
    const config = configOf(at('x'))
    const named = (modules: string[] | null) =>
      writeFileSync(join(at('x'), 'adapter_config.json'), JSON.stringify({ ...config, modules_to_save: modules }))
    named(null)
    await expect(model.loadAdapter(at('x'))).rejects.toThrow(
      code('unfit-adapter', /holds .*lm_head.weight, which differs from the model's/),
    )
    named(['lm_head', 'embed_tokens'])
    await expect(model.loadAdapter(at('x'))).rejects.toThrow(code('malformed-file', /no tensor for embed_tokens/))
    named(['lm_head'])
    using other = await loadTiny(tied)
    await expect(other.loadAdapter(at('x'))).rejects.toThrow(code('unfit-adapter', /./))
  })
})
