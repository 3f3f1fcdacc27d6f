/** Options of the library's functions that describe an adapter, and the entries of files that become such options. */
import { describe, expect, it } from 'vitest'
import { readEntries, writeEntries } from '../../lib/adapters/contract/peft-entries.js'
import { hira } from '../../lib/adapters/methods/hira.js'
import { lora, loraMethod, loraPlus } from '../../lib/adapters/methods/lora.js'
import { miss } from '../../lib/adapters/methods/miss.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { newAdapterConfig } from '../../lib/adapters/new-adapter.js'
import OWN_METHODS from '../../lib/adapters/own-methods.js'
import { configFromPeft } from '../../lib/adapters/registry.js'
import { moraLayer } from '../../lib/adapters/single-layer.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../lib/options/index.js'

/** Without types, as JavaScript may call it. */
const untyped = <Options>(options: object) => options as Options

describe('options of an adapter', () => {
  it.each([
    [() => mora(untyped({ rnak: 4 })), 'Unknown option rnak; did you mean rank?'],
    [() => lora(untyped({ operator: 'sharing' })), 'Unknown option operator'],
    [() => mora({ rank: 0 }), 'Expected a whole number of at least 1 for rank but received 0.'],
    [() => mora({ dropout: 1 }), 'for dropout but received 1.'],
    [() => hira({ dropout: Number.NaN }), 'for dropout but received NaN.'],
    [() => lora({ alpha: -1 }), 'for alpha but received -1.'],
    [() => loraPlus({ loraPlusRatio: 0 }), 'for loraPlusRatio but received 0.'],
    [() => miss({ targetModules: [] }), 'for targetModules but received [].'],
    [() => mora({ rankPattern: { '(': 2 } }), 'for rankPattern but received {"(":2}.'],
    [() => mora({ scale: Number.POSITIVE_INFINITY }), 'for scale but received Infinity.'],
    [() => moraLayer({ inFeatures: 0, outFeatures: 4, device: 'cpu' }), 'for inFeatures but received 0.'],
    [
      () => moraLayer({ inFeatures: 4, outFeatures: 4, squareSide: 1.5, device: 'cpu' }),
      'squareSide but received 1.5.',
    ],
  ])('are checked when they are given: %s', (make, message) => {
    expect(make).toThrow(expect.objectContaining({ exitCode: 2, message: expect.stringContaining(message) }))
  })

  it('may be written as on the command line', () => {
    expect(mora(untyped({ targetModules: 'q_proj, v_proj' })).targetModules).toEqual(['q_proj', 'v_proj'])
    expect(mora(untyped({ targetModules: '/proj$/' })).targetModules).toEqual(/proj$/)
  })

  it('may be a configuration that is changed', () => {
    const config = mora({ rank: 3, foldOutput: true, permutation: { seed: 1, cycle: 2 } })
    expect(mora(config)).toEqual(config)
    expect(mora({ ...config, operator: 'sharing' })).toEqual({ ...config, operator: 'sharing' })
    for (const again of [lora, loraPlus, hira, miss]) expect(again(again({ rank: 5 }))).toEqual(again({ rank: 5 }))
  })

  it.each(ADAPTER_METHODS)('of %s are those of the command line', (method) => {
    expect(newAdapterConfig(method, newAdapterOptions({ method, rank: 3, dropout: 0.1 }))).toMatchObject({
      method,
      rank: 3,
      dropout: 0.1,
      targetModules: 'all-linear',
      rankPattern: {},
      modulesToSave: [],
    })
  })
})

describe('entries of adapter_config.json', () => {
  const source = 'folder/adapter_config.json'
  const read = (json: object) => readEntries(loraMethod, { peft_type: 'LORA', ...json }, source)

  it.each([
    [{}, 'a positive whole number for r but found none'],
    [{ r: 'x' }, 'for r but found "x"'],
    [{ r: 8, rank_pattern: 5 }, 'for rank_pattern but found 5'],
    [{ r: 8, rank_pattern: { '(': 3 } }, 'rank_pattern has the regular expression "(", which is not valid'],
    [{ r: 8, target_modules: '(' }, 'target_modules has the regular expression "(", which is not valid'],
    [{ r: 8, modules_to_save: 'all' }, 'for modules_to_save but found "all"'],
    [{ r: 8, alpha_pattern: { q_proj: 'x' } }, 'for alpha_pattern but found'],
    [{ r: 8, lora_dropout: 'x' }, 'for lora_dropout but found "x"'],
    [{ r: 8, lora_dropout: 1 }, 'for lora_dropout but found 1'],
  ])('name their file when they are malformed: %s', (json, message) => {
    const refused = expect.objectContaining({ code: 'malformed-file', message: expect.stringContaining(message) })
    expect(() => read(json)).toThrow(refused)
    expect(() => read(json)).toThrow(source)
  })

  it('may be absent, but for the rank', () => {
    const none = { rank: 8, rankPattern: {}, targetModules: 'all-linear', modulesToSave: [], dropout: 0 }
    expect(read({ r: 8 })).toMatchObject(none)
    expect(read({ r: 8, rank_pattern: null, target_modules: null, modules_to_save: null })).toMatchObject(none)
  })

  it.each(OWN_METHODS)('of $name round-trip', (method) => {
    const own: object = { rank: 6, dropout: 0.25, targetModules: ['q_proj'] }
    const config = method.config(own)
    const entries = {
      r: config.rank,
      target_modules: config.targetModules,
      ...writeEntries(method.peft as never, config),
    }
    expect(configFromPeft(entries, source)).toEqual(config)
  })
})
