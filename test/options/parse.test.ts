import { describe, expect, it } from 'vitest'
import { UsageError } from '../../lib/common/errors.js'
import { speaking } from '../../lib/common/option-names.js'
import {
  checkEvalOptions,
  EvalSchema,
  newAdapterOptions,
  parseOptions,
  plainOptions,
  TrainSchema,
} from '../../lib/options/index.js'
import { checkTrainOptions } from '../../lib/train/setup/resolve-options.js'

const train = (raw: unknown) => parseOptions(TrainSchema, raw)
const flags = (raw: unknown) => parseOptions(TrainSchema, raw, 'flags')

describe('options of training', () => {
  it('have the defaults of the interface', () => {
    expect(train({})).toEqual({
      warmupSteps: 0,
      warmupRatio: 0,
      weightDecay: 0,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      maxGradNorm: 1,
      objective: 'sft',
      labelSmoothing: 0,
      neftuneAlpha: 0,
      zLoss: 0,
      epochs: 1,
      batchSize: 8,
      packing: true,
      shuffle: true,
      longRows: 'keep-start',
      trainOn: 'completion',
      template: 'auto',
      compute: 'auto',
      gradientCheckpointing: false,
      profile: false,
      saveMinutes: 10,
      keepBest: false,
      tensorboard: false,
      resume: false,
      offline: false,
      overwrite: false,
      deterministic: false,
      json: false,
      device: 'auto',
      dtype: 'auto',
      allowTf32: false,
      rotaryDtype: 'float32',
      seed: 42,
      quiet: false,
      rankTimeout: 30,
      allowOtherBase: false,
    })
  })

  it('accept one path or several as data', () => {
    expect(train({ data: 'a.jsonl' }).data).toEqual(['a.jsonl'])
    expect(train({ data: ['a.jsonl', 'b.jsonl'] }).data).toEqual(['a.jsonl', 'b.jsonl'])
  })

  it('accept memory as a number of bytes or with a unit', () => {
    for (const [memory, bytes] of [
      [1024, 1024],
      ['2GiB', 2 ** 31],
      ['1.5 gb', 1.5e9],
      ['800M', 800 * 2 ** 20],
      ['4096', 4096],
    ] as const) {
      expect(train({ memory }).memory).toBe(bytes)
    }
    expect(() => flags({ memory: 'much' })).toThrow('Expected a size as 2GiB or 800MB for --memory but received "much"')
    expect(() => train({ memory: 0 })).toThrow('for memory but received 0')
  })

  it('accept target modules as a word, names or a regular expression', () => {
    expect(train({ targetModules: 'all-linear' }).targetModules).toBe('all-linear')
    expect(train({ targetModules: 'q_proj, v_proj' }).targetModules).toEqual(['q_proj', 'v_proj'])
    expect(train({ targetModules: ['q_proj'] }).targetModules).toEqual(['q_proj'])
    expect(train({ targetModules: '/layers\\.[0-3]\\./' }).targetModules).toEqual(/layers\.[0-3]\./)
    expect(train({ targetModules: /q_proj/ }).targetModules).toEqual(/q_proj/)
    expect(() => train({ targetModules: '/(/' })).toThrow('for targetModules but received "/(/"')
  })

  it('survive a round trip through plain values', () => {
    const options = train({ data: 'a', targetModules: /q_proj$/i, rank: 4 })
    const plain = JSON.parse(JSON.stringify(plainOptions(options)))
    expect(plain.targetModules).toBe('/q_proj$/i')
    expect(train(plain)).toEqual(options)
  })
})

describe('errors of options', () => {
  it('name an unknown option and suggest the nearest', () => {
    expect(() => train({ learningrate: 1 })).toThrow('Unknown option learningrate; did you mean learningRate?')
    expect(() => train({ 'learning-rate': 1 })).toThrow('did you mean learningRate?')
    expect(() => flags({ bathSize: 1 })).toThrow('did you mean --batch-size?')
    expect(() => train({ lr: 1 })).toThrow('Unknown option lr; did you mean learningRate?')
    expect(() => train({ use_dora: true })).toThrow('did you mean method: dora?')
    expect(() => train({ constructor: 1 })).toThrow('Unknown option constructor')
  })

  it('say what was expected and what came', () => {
    expect(() => train({ rank: 0 })).toThrow('Expected a whole number of at least 1 for rank but received 0.')
    expect(() => flags({ rankPattern: '16' })).toThrow('for --rank-pattern but received "16".')
    expect(() => train({ batchSize: 1e9 })).toThrow('Expected a whole number of at least 1 up to 1048576 for batchSize')
    expect(() => train({ rank: 2.5 })).toThrow('for rank but received 2.5.')
    expect(() => flags({ learningRate: 'fast' })).toThrow(
      'Expected a number above 0 for --learning-rate but received "fast".',
    )
    expect(() => train({ learningRate: Number.POSITIVE_INFINITY })).toThrow('for learningRate but received Infinity.')
    expect(() => train({ beta1: 1 })).toThrow('Expected a number of at least 0 below 1 for beta1')
    expect(() => train({ scheduler: 'cosin' })).toThrow('did you mean cosine?')
    expect(() => train({ cycle: 'sharing,sliding' })).toThrow('for cycle but received "sharing,sliding"')
    expect(() => train({ device: 'gpu' })).toThrow('Expected auto, cpu, cuda or cuda:n for device but received "gpu".')
    expect(() => train([1])).toThrow('Expected options by name but received [1].')
  })

  it('are usage errors with a code', () => {
    const error = (() => {
      try {
        train({ rank: -1 })
      } catch (thrown) {
        return thrown
      }
    })()
    expect(error).toBeInstanceOf(UsageError)
    expect(error).toMatchObject({ code: 'bad-value', exitCode: 2, option: 'rank' })
  })
})

describe('options that do not fit together', () => {
  const check = (raw: object) => () =>
    speaking('flags', () => checkTrainOptions(flags({ data: 'd', output: 'o', ...raw }), 'flags'))

  it('pass if they fit', () => {
    expect(check({})).not.toThrow()
    expect(check({ method: 'lora', rank: 4, alpha: 8 })).not.toThrow()
    expect(check({ operator: 'sharing', dropout: 0.1 })).not.toThrow()
    expect(check({ evalData: 'e', evalEvery: 10, patience: 3, keepBest: true })).not.toThrow()
    expect(check({ adapter: 'a', method: 'lora', alpha: 3 })).not.toThrow()
    expect(check({ mergeEvery: 5, cycle: 'sharing,rotation', operator: 'rotation', regroup: 'permute' })).not.toThrow()
    expect(check({ mergeEvery: 5, method: 'lora', scheduler: 'linear' })).not.toThrow()
    expect(check({ init: 'c', mergeEvery: 5, rank: 8, restartWarmupSteps: 0 })).not.toThrow()
  })

  it.each([
    [{ init: 'c', adapter: 'a' }, '--init does not go with --adapter'],
    [{ resume: true, overwrite: true }, '--resume does not go with --overwrite'],
    [{ warmupSteps: 3, warmupRatio: 0.1 }, '--warmup-steps does not go with --warmup-ratio'],
    [{ operator: 'sharing', method: 'lora' }, '--operator does not go with method lora'],
    [{ alpha: 8 }, '--alpha does not go with method mora'],
    [{ method: 'full', rank: 8 }, '--rank does not go with method full'],
    [{ init: 'c', rank: 8 }, '--rank does not go with method full'],
    [{ shard: 'base', method: 'full' }, '--shard does not go with method full'],
    [{ shard: 'base', init: 'c' }, '--shard does not go with --init'],
    [{ shard: 'base', mergeEvery: 5 }, '--shard does not go with --merge-every'],
    [{ shard: 'base', samplePrompt: ['a'] }, '--shard does not go with --sample-prompt'],
    [{ compute: 'int8', method: 'full' }, '--compute int8 does not go with method full'],
    [{ compute: 'int8', init: 'c' }, '--compute int8 does not go with method full'],
    [{ mergeEvery: 5, method: 'full' }, '--merge-every does not go with method full'],
    [{ mergeEvery: 5, method: 'lora', regroup: 'cycle' }, '--regroup does not go with method lora'],
    [{ cycle: 'sharing' }, '--cycle needs --merge-every.'],
    [{ mergeEvery: 5, cycle: 'sharing', operator: 'rotation' }, '--operator rotation is not among'],
    [{ scheduler: 'cosine-restarts' }, '--scheduler cosine-restarts needs a period: set --merge-every'],
    [{ restartWarmupSteps: 3 }, '--restart-warmup-steps does not go with --scheduler cosine:'],
    [{ modulesToSave: 'norms', method: 'full' }, '--modules-to-save does not go with method full'],
    [{ adapter: 'a', method: 'full' }, '--adapter does not go with --method full'],
    [{ patience: 3 }, '--patience needs --eval-data'],
    [{ evalData: 'e', patience: 3 }, '--patience needs --eval-every'],
    [{ keepBest: true }, '--keep-best needs --eval-data'],
    [{ evalData: 'e', keepBest: true }, '--keep-best needs --eval-every'],
    [{ sampleEvery: 3 }, '--sample-every needs --sample-prompt'],
    [{ evalEvery: 3 }, '--eval-every needs --eval-data'],
    [{ data: ['-', 'x', '-'] }, 'Standard input (-) can be read only once'],
    [{ data: '-', evalData: '-' }, '--data and --eval-data name it more often'],
    [{ microBatchSize: 9 }, '--micro-batch-size 9 is more than the 8 rows of a step'],
  ])('are refused: %o', (raw, message) => {
    expect(check(raw)).toThrow(message)
  })

  it('are refused in evaluation if they belong to another task', () => {
    const check = (raw: object) => () =>
      speaking('flags', () => checkEvalOptions(parseOptions(EvalSchema, raw, 'flags')))
    expect(check({ task: 'logprobs', window: 8 })).toThrow(
      '--window belongs to the task perplexity or forgetting or change, not to logprobs.',
    )
    expect(check({ task: 'perplexity', base: 'model' })).toThrow(
      '--base belongs to the task forgetting or change, not to perplexity.',
    )
    expect(check({ task: 'choices', shots: 2 })).toThrow('--shots needs --shots-data.')
    expect(check({ task: 'perplexity', window: 8, stride: 9 })).toThrow('--stride 9 must not be more than --window 8.')
    expect(check({ task: 'perplexity', window: 8, stride: 4 })).not.toThrow()
  })
})

describe('a new adapter', () => {
  it('rotates below rank 64 and shares from there on', () => {
    expect(newAdapterOptions({}).operator).toBe('rotation')
    expect(newAdapterOptions({ rank: 63 }).operator).toBe('rotation')
    expect(newAdapterOptions({ rank: 64 }).operator).toBe('sharing')
  })

  it('is MoRA of rank 8 unless told, and full training from scratch', () => {
    expect(newAdapterOptions({})).toMatchObject({ method: 'mora', rank: 8, operator: 'rotation' })
    expect(newAdapterOptions({ init: 'config.json' }).method).toBe('full')
  })
})
