/** Every public function, called with every wrong kind of argument, refuses it by a MoraError. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loraMethod } from '../../lib/adapters/methods/lora.js'
import { ADAPTER_METHODS } from '../../lib/adapters/registry.js'
import { MoraError } from '../../lib/common/errors.js'
import * as library from '../../lib/index.js'
import { goldenPath } from '../golden/files.js'
import { quickFolder } from '../io/temporary.js'

const { AdamW, Chat, DataLoader, Model, Parameter, Run, Tensor } = library

/** Values of every kind, by the name of the kind. */
const VALUES: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  null: null,
  true: true,
  zero: 0,
  negative: -1,
  fraction: 1.5,
  NaN: Number.NaN,
  huge: 2 ** 60,
  bigint: 3n,
  'empty text': '',
  text: 'nowhere',
  symbol: Symbol('s'),
  function: () => {},
  'empty list': [],
  'list of nothing': [undefined],
  'list of texts': ['nowhere'],
  'list of numbers': [1, 2],
  'empty object': {},
  'foreign object': { nothing: 1 },
  buffer: Buffer.from('content of a file'),
  'typed array': new Float32Array(2),
  date: new Date(0),
  map: new Map(),
  error: new Error('no'),
}

interface Subject {
  /** The name under which failures are reported. */
  name: string
  call: (...given: unknown[]) => unknown
  /** Arguments that are right, one for each parameter. */
  right: unknown[]
  /** Further kinds of values that each parameter accepts, or refuses for their content. */
  fits?: string[][]
}

const options = ['undefined', 'empty object']
const numbers = ['zero', 'negative', 'fraction', 'huge']
const model = goldenPath('tiny-untied/model')
const folder = quickFolder()
const rows = join(folder, 'rows.jsonl')
let subjects: Subject[] = []
const disposables: { dispose(): void }[] = []

/** Calls a constructor or function by its name. */
const exported = library as unknown as Record<string, (...given: unknown[]) => unknown>

beforeAll(async () => {
  process.chdir(folder) // relative paths are right, too
  writeFileSync(rows, '{"input_ids": [1, 2, 3]}\n{"input_ids": [4, 5]}\n')
  const device = library.openDevice({ device: 'cpu' })
  const loaded = await library.loadModel(model, { device: 'cpu', dtype: 'float32' })
  const batch = library.packBatch([{ ids: [1, 2, 3], mask: [1, 1, 1], row: 0 }])
  const dataset = await library.loadDataset(rows, { tokenizer: null })
  const tensor = () => Tensor.from([1, 2, 3, 4], [2, 2], { device })
  const targets = Tensor.from([0, 1], [2], { device, dtype: 'int32' })
  const parameter = new Parameter('p', Tensor.zeros([2], { device }))
  const optimizer = new AdamW([parameter])
  const layer = library.moraLayer({ inFeatures: 4, outFeatures: 4, rank: 1, device: 'cpu' })
  const [x, M] = [new Float32Array(4), new Float32Array(layer.squareSide ** 2)]
  const cache = loaded.createCache(8)
  const memory = loaded.createMemory({ capacity: 8, slots: 1 })
  const texts = new library.TextEngine(loaded, { tokens: 64 })
  const server = library.serve(loaded)
  disposables.push({ dispose: () => void texts.close() }, loaded, cache, memory, parameter, optimizer)
  loaded.addAdapter('a', library.mora({ rank: 2 }))
  const form = await library.answerForm({ render: async () => '' })
  const tokenizer = await library.loadTokenizer(goldenPath('tokenizers/small-bpe'))
  const choice = { temperature: 0, topK: 0, topP: 1, uniform: 0 }
  const paths = { model, adapter: join(folder, 'adapter'), output: join(folder, 'never') }
  const of = (name: string, right: unknown[], fits?: string[][]): Subject => ({
    name,
    call: exported[name]!,
    right,
    fits,
  })
  const making = (name: string, right: unknown[], fits?: string[][]): Subject => ({
    name: `new ${name}`,
    call: (...given) => Reflect.construct(exported[name] as never, given),
    right,
    fits,
  })
  const on = (object: object, kind: string, name: string, right: unknown[], fits?: string[][]): Subject => ({
    name: `${kind}.${name}`,
    call: (...given) => (object as Record<string, (...given: unknown[]) => unknown>)[name]!(...given),
    right,
    fits,
  })
  const first = (object: object, kind: string, name: string, right: unknown[], fits?: string[][]): Subject => {
    const subject = on(object, kind, name, right, fits)
    return { ...subject, call: (...given) => (subject.call(...given) as AsyncGenerator).next() }
  }

  subjects = [
    ...ADAPTER_METHODS.map((method) => method.replace(/-./g, (end) => end[1]!.toUpperCase())).map((name) =>
      of(name, [{}], [options]),
    ),
    ...['dpo', 'kto', 'orpo', 'cpo', 'simpo', 'reward', 'classify', 'embed'].map((name) => of(name, [{}], [options])),
    of('regexReward', [/a/]),
    of('jsonReward', [{}], [['empty object', 'foreign object']]),
    of('answerReward', ['answer'], [['undefined', 'empty text', 'text']]),
    of('lengthReward', [8], [['huge']]),
    of('tagsReward', ['think'], [['text']]),
    of('grpo', [{ rewards: { one: () => 1 } }], [options]),
    of('distill', [{ teacher: loaded }]),
    of('squareSide', [8, 8, 2, 'rotation', 1], [['huge'], ['huge'], ['huge'], [], ['undefined', 'huge']]),
    of('analyzeAdapter', [paths]),
    of('analyzeModels', [{ model, base: model }]),
    of(
      'spectraByKind',
      [[{ name: 'q_proj', aboveThreshold: 1, effectiveRank: 1, spectralNorm: 1, frobeniusNorm: 1 }]],
      [['empty list']],
    ),
    of('spectrumOf', [new Float32Array(4), 2, 2, 0.1], [[], [], [], ['zero', 'negative', 'fraction', 'huge']]),
    of(
      'loadDataset',
      [rows, { tokenizer: null }],
      [
        ['text', 'list of texts'],
        ['empty object', 'foreign object'],
      ],
    ),
    {
      ...of(
        'readRows',
        [rows, {}],
        [
          ['text', 'list of texts'],
          [...options, 'foreign object'],
        ],
      ),
      call: (...given) => (exported.readRows!(...given) as AsyncGenerator).next(),
    },
    of('packBatch', [[{ ids: [1], mask: [1], row: 0 }], {}], [['empty list'], [...options, 'foreign object']]),
    of('loadTokenizer', [model, {}], [['text'], [...options, 'foreign object']]),
    of('doctor', [{}], [[...options, 'foreign object']]),
    of('scoresOf', [loaded, ['a'], {}], [[], ['empty list', 'list of texts'], [...options, 'foreign object']]),
    of('embeddingsOf', [loaded, ['a'], {}], [[], ['empty list', 'list of texts'], [...options, 'foreign object']]),
    of('evaluate', [loaded, { task: 'perplexity', data: rows }]),
    of('importanceMatrix', [loaded, { data: rows, output: join(folder, 'never.gguf') }]),
    of('generate', [loaded, { prompt: 'a' }]),
    of('answerForm', [{ render: async () => '' }, {}], [[], [...options, 'foreign object']]),
    of('answerMessage', [{ content: '', toolCalls: [] }]),
    of('parseAnswer', ['a', { form }], [['text', 'empty text']]),
    of('openConstraint', [{ regex: 'a' }, { tokenizer, eosIds: [1] }]),
    {
      ...of('generateStream', [loaded, { prompt: 'a' }]),
      call: (...given) => (exported.generateStream!(...given) as AsyncGenerator).next(),
    },
    of('exportAdapter', [{ ...paths, format: 'peft' }]),
    of('initModel', [join(model, 'config.json'), {}], [['text'], options]),
    of('loadModel', [model, {}], [['text'], options]),
    of('mergeModel', [paths]),
    of('pushToHub', [{ path: folder, repository: 'owner/name' }]),
    of('connectRanks', [{ timeout: 30 }], [[...options, 'foreign object']]),
    of('moraLayer', [{ inFeatures: 2, outFeatures: 2 }]),
    of('openDevice', [{}], [[...options, 'foreign object']]),
    of('clipGradNorm', [[parameter], 1], [[], ['zero', 'fraction', 'huge']]),
    of('schedule', [{ learningRate: 1, totalSteps: 2 }]),
    of('crossEntropy', [tensor(), targets]),
    of('linearCrossEntropy', [tensor(), tensor(), targets, { scale: 1, softcap: null }], [[], [], [], ['undefined']]),
    ...['add', 'sub', 'mul', 'div'].map((name) => of(name, [tensor(), tensor()], [numbers, numbers])),
    ...[
      'exp',
      'log',
      'logSigmoid',
      'logSoftmax',
      'relu',
      'sigmoid',
      'softmax',
      'softplus',
      'sqrt',
      'square',
      'tanh',
    ].map((name) => of(name, [tensor()])),
    ...['mean', 'sum'].map((name) =>
      of(name, [tensor(), -1, true], [[], ['undefined', 'negative', 'zero', 'empty list'], ['undefined', 'true']]),
    ),
    of('logSumExp', [tensor(), -1], [[], ['undefined', 'negative', 'zero']]),
    of('clamp', [tensor(), 0, 1], [[], ['zero', 'negative'], ['zero', 'fraction', 'huge']]),
    of('reshape', [tensor(), [4]]),
    of('concat', [[tensor()], 0], [[], ['undefined', 'negative', 'zero']]),
    of('stack', [[tensor()], 0], [[], ['undefined', 'negative', 'zero']]),
    of('cast', [tensor(), 'float32']),
    of('gather', [tensor(), [1, 0], -1], [[], ['typed array'], ['undefined', 'negative', 'zero']]),
    of('gatherRows', [tensor(), [1, 0]], [[], ['empty list', 'typed array']]),
    of('slice', [tensor(), 0, 1], [[], ['zero'], ['zero']]),
    of('linear', [tensor(), tensor(), Tensor.zeros([2], { device })], [[], [], ['undefined']]),
    of('matmul', [tensor(), tensor()]),
    of('scope', [() => {}], [['function']]),
    of('noGrad', [() => {}], [['function']]),
    of('tokeniseRow', [{ input_ids: [1, 2] }, { tokenizer: null }], [[], ['empty object', 'foreign object']]),
    of('tokenLogProbs', [loaded, batch, {}], [[], [], [...options, 'foreign object']]),
    of(
      'randomStream',
      [1, 'a'],
      [
        ['zero', 'negative', 'bigint'],
        ['text', 'empty text'],
      ],
    ),
    of('gradientCheck', [loraMethod, {}], [[], [...options, 'foreign object']]),
    of('saveCheckpoint', [join(folder, 'checkpoints'), { model: loaded, optimizer, step: 1 }], [['text']]),
    of('loadCheckpoint', [join(folder, 'checkpoints', 'step-000001'), { model: loaded, optimizer }], [['text']]),
    of('newestIntactCheckpoint', [folder, () => {}], [['text'], ['function']]),
    of('meanLoss', [loaded, [batch], {}], [[], [], [...options, 'foreign object']]),
    of('fit', [model, { trial: false }], [['text'], options]),
    of('train', [loaded, { data: rows }]),
    making('AdamW', [[parameter], {}], [['empty list'], [...options, 'foreign object']]),
    making('AnswerReader', [{ form }]),
    making('Chat', [loaded, {}], [[], options]),
    making('TextEngine', [loaded, {}], [[], [...options, 'foreign object']]),
    making(
      'DataLoader',
      [dataset, {}],
      [
        ['empty list', 'list of nothing', 'list of texts', 'list of numbers', 'buffer', 'typed array', 'map'],
        [...options, 'foreign object'],
      ],
    ),
    making('Model', [{ weights: {} }]),
    making('MoraSingleLayer', [{ inFeatures: 2, outFeatures: 2 }]),
    making('Parameter', ['p', Tensor.zeros([2], { device })], [['text', 'empty text']]),
    making('Run', [async () => ({}), () => {}], [['function'], ['undefined', 'function']]),

    on(Tensor, 'Tensor', 'empty', [[2], { device }], [['empty list', 'list of numbers']]),
    on(Tensor, 'Tensor', 'zeros', [[2], { device }], [['empty list', 'list of numbers']]),
    on(Tensor, 'Tensor', 'from', [[1, 2], [2], { device }], [['list of numbers', 'typed array'], ['list of numbers']]),
    on(tensor(), 'Tensor', 'view', [[4], [1], 0], [[], ['undefined', 'list of numbers'], ['undefined', 'zero']]),
    on(tensor(), 'Tensor', 'columns', [0, 1], [['zero'], ['zero']]),
    on(tensor(), 'Tensor', 'rows', [0, 1], [['zero'], ['zero']]),
    on(tensor(), 'Tensor', 'copyFrom', [tensor()]),
    on(tensor(), 'Tensor', 'assign', [new Float32Array(4)], [['typed array']]),
    on(new DataLoader([]), 'DataLoader', 'load', [{ step: 0 }]),
    on(library.randomStream(1, 'a'), 'RandomStream', 'load', [library.randomStream(1, 'a').state()]),
    on(parameter, 'Parameter', 'assign', [new Float32Array(2)], [['typed array']]),
    on(optimizer, 'AdamW', 'setParameters', [[parameter]], [['empty list']]),
    on(optimizer, 'AdamW', 'step', [{ learningRate: 0 }]),
    on(new library.AnswerReader({ form }), 'AnswerReader', 'push', ['a'], [['text', 'empty text']]),
    on(optimizer, 'AdamW', 'load', [optimizer.state()]),
    on(dataset, 'Dataset', 'row', [0], [['zero']]),
    on(dataset, 'Dataset', 'rowLength', [0], [['zero']]),
    on(layer, 'MoraSingleLayer', 'forward', [x, null, M], [[], ['null'], []]),
    on(layer, 'MoraSingleLayer', 'backward', [x, null, M, x], [[], ['null'], [], []]),
    on(layer, 'MoraSingleLayer', 'delta', [M]),
    first(new Chat(loaded), 'Chat', 'say', ['a'], [['text', 'empty text']]),
    on(texts, 'TextEngine', 'generate', [{ prompt: 'a' }, 0], [[], ['undefined', 'zero', 'huge']]),
    first(texts, 'TextEngine', 'stream', [{ prompt: 'a' }, 0], [[], ['undefined', 'zero', 'huge']]),
    on(texts, 'TextEngine', 'exclusive', [async () => {}], [['function']]),
    of('serve', [loaded, {}], [[], options]),
    on(server, 'ModelServer', 'fetch', [new Request('http://here/health')]),
    on(server, 'ModelServer', 'loadAdapter', ['a', folder, {}], [['text'], ['text'], [...options, 'foreign object']]),
    on(server, 'ModelServer', 'unloadAdapter', ['a'], [['text']]),

    on(loaded, 'Model', 'createMemory', [{ capacity: 8, slots: 1 }]),
    on(loaded, 'Model', 'nextLogitsOf', [[{ ids: [1], known: 1, rows: [0], slot: 0, rowLength: 1 }], memory]),
    on(loaded, 'Model', 'logProbsOf', [
      [{ ids: [1], known: 1, rows: [0], slot: 0, rowLength: 1 }],
      { rows: [0], ids: [2] },
      memory,
    ]),
    on(loaded, 'Model', 'addAdapter', ['b', library.mora(), {}], [['text'], [], [...options, 'foreign object']]),
    on(
      loaded,
      'Model',
      'loadAdapter',
      [folder, 'b', {}],
      [['text'], ['undefined', 'text'], [...options, 'foreign object']],
    ),
    on(
      loaded,
      'Model',
      'saveAdapter',
      ['a', join(folder, 'never'), {}],
      [['text'], ['text'], [...options, 'foreign object']],
    ),
    on(loaded, 'Model', 'mergeAdapter', ['a', {}], [['text'], [...options, 'foreign object']]),
    on(loaded, 'Model', 'unmergeAdapter', ['a'], [['text']]),
    on(loaded, 'Model', 'restartAdapter', ['a', {}], [['text'], [...options, 'foreign object']]),
    on(loaded, 'Model', 'absorbAdapter', [folder], [['text']]),
    on(loaded, 'Model', 'removeAdapter', ['a'], [['text']]),
    on(loaded, 'Model', 'setActiveAdapters', [['a']], [['empty list', 'list of texts']]),
    on(loaded, 'Model', 'withAdapters', [['a']], [['empty list', 'list of texts', 'undefined']]),
    on(loaded, 'Model', 'addHead', [['a'], {}], [['list of texts'], [...options, 'foreign object']]),
    on(loaded, 'Model', 'moduleNames', [['norms']], [['empty list', 'list of texts']]),
    on(loaded, 'Model', 'setAdapterScale', ['a', 1], [['text'], ['zero', 'negative', 'fraction', 'huge']]),
    on(loaded, 'Model', 'untrainedTokens', [[1]], [['empty list', 'list of numbers', 'buffer']]),
    on(loaded, 'Model', 'setDropout', [{ seed: 1, step: 1 }], [['null']]),
    on(loaded, 'Model', 'loss', [batch]),
    on(loaded, 'Model', 'lossAsync', [batch, {}], [[], [...options, 'foreign object']]),
    on(loaded, 'Model', 'forward', [batch, {}], [[], [...options, 'foreign object']]),
    on(loaded, 'Model', 'forwardAsync', [batch, {}], [[], [...options, 'foreign object']]),
    on(loaded, 'Model', 'tokenLogProbs', [batch]),
    on(loaded, 'Model', 'createCache', [8]),
    on(loaded, 'Model', 'nextLogits', [[1], cache], [['list of numbers', 'buffer']]),
    on(loaded, 'Model', 'nextToken', [[1], cache, choice], [['list of numbers', 'buffer']]),
    on(loaded, 'Model', 'save', [join(folder, 'never'), {}], [['text'], [...options, 'foreign object']]),
  ]
})
afterAll(() => {
  for (const one of disposables) one.dispose()
})

/** The outcome of a call: nothing, or the error that it throws or rejects with. */
async function outcomeOf(call: () => unknown): Promise<unknown> {
  try {
    const value = await call()
    if (value instanceof Run) await value.finished
    return undefined
  } catch (error) {
    return error
  }
}

function shown(error: unknown): string {
  if (error === undefined) return 'no error'
  return error instanceof Error ? `${error.constructor.name}: ${error.message}` : String(error)
}

describe('calls that were tried', () => {
  const code = (expected: string, message: RegExp) =>
    expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

  it('a description of an adapter is completed, and checked', async () => {
    using loaded = await library.loadModel(model, { device: 'cpu', dtype: 'float32' })
    await loaded.addAdapter('p', { method: 'lora', rank: 4 } as never)
    expect(loaded.adapters.get('p')).toEqual(library.lora({ rank: 4 }))
    const add = (config: object) => async () => loaded.addAdapter('q', config as never)
    await expect(add({ method: 'lora', rank: '4' })).rejects.toThrow(
      code('bad-value', /whole number .* for rank .*"4"/),
    )
    await expect(add({ method: 'lorra' })).rejects.toThrow(code('unknown-method', /Method lorra is not available/))
    await expect(add({ rank: 4 })).rejects.toThrow(code('bad-value', /for method but received undefined/))
    await expect(add({ method: 'lora', operator: 'rotation' })).rejects.toThrow(code('unknown-option', /operator/))
    expect(() => loaded.setActiveAdapters([1] as never)).toThrow(
      code('bad-value', /^Expected a list of texts for names /),
    )
    expect([...loaded.adapters.keys()]).toEqual(['p'])
  })

  it('rows where a batch or token ids belong', async () => {
    using loaded = await library.loadModel(model, { device: 'cpu', dtype: 'float32' })
    const some = [{ input_ids: [1, 2, 3] }]
    expect(() => loaded.loss(some as never)).toThrow(code('bad-value', /a batch \(packBatch and DataLoader make one\)/))
    const first = (row: object) => new DataLoader([row as never])[Symbol.asyncIterator]().next()
    await expect(first({ text: 'a' })).rejects.toThrow(code('no-tokenizer', /^row 1: /))
    await expect(first({ ids: 'abc' })).rejects.toThrow(code('malformed-row', /^row 1: ids: expected a list of whole/))
    await expect(first({ ids: [1], mask: [Symbol('s')] })).rejects.toThrow(code('malformed-row', /^row 1: mask: /))
  })

  it('a file where a folder belongs, and the content of one where its path does', async () => {
    using loaded = await library.loadModel(model, { device: 'cpu', dtype: 'float32' })
    loaded.addAdapter('p', library.lora({ rank: 1 }))
    for (const path of [rows, join(rows, 'below')]) {
      await expect(loaded.saveAdapter('p', path)).rejects.toThrow(code('not-a-folder', /a file is there or above it/))
    }
    const content = library.loadModel(Buffer.from('secret content') as never)
    await expect(content).rejects.toThrow(
      code('bad-value', /^Expected the path or hub id of a model for model but received an object of Buffer\.$/),
    )
  })
})

describe('the public functions', () => {
  it('are all in the table', () => {
    const errors = ['MoraError', 'UsageError', 'InputError', 'RunError']
    // These take objects that only the library makes (Tensor.from, loadDataset).
    const made = ['Tensor', 'Dataset']
    const names = Object.entries(library).flatMap(([name, value]) => (typeof value === 'function' ? [name] : []))
    const tested = subjects.map(({ name }) => name.replace(/^new /, ''))
    expect(names.filter((name) => ![...tested, ...errors, ...made].includes(name))).toEqual([])
    const inherited = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(Model.prototype))
    const members = { ...inherited, ...Object.getOwnPropertyDescriptors(Model.prototype) }
    const methods = Object.keys(members).filter((name) => {
      const { value } = members[name]!
      return typeof value === 'function' && value.length > 0 && name !== 'constructor' && name !== 'slot'
    })
    expect(methods.filter((name) => !tested.includes(`Model.${name}`))).toEqual([])
  })

  it('refuse each argument of a wrong kind in a sentence of one line', { timeout: 300_000 }, async () => {
    const wrong: string[] = []
    for (const { name, call, right, fits = [] } of subjects) {
      for (const at of right.keys()) {
        for (const [kind, value] of Object.entries(VALUES)) {
          if (fits[at]?.includes(kind)) continue
          const given = right.map((argument, i) => (i === at ? value : argument))
          const error = await outcomeOf(() => call(...given))
          const isFit = error instanceof MoraError && !error.message.includes('\n') && error.message.length < 2000
          if (!isFit) wrong.push(`${name}, argument ${at + 1}: ${kind}: ${shown(error)}`)
        }
      }
    }
    expect(wrong).toEqual([])
  })

  it('refuse options of a wrong kind, or take them, and never fail otherwise', { timeout: 300_000 }, async () => {
    const paths = { model, adapter: join(folder, 'adapter'), output: join(folder, 'never') }
    const hub = ['offline', 'onDownload', 'onWarning', 'signal']
    const device = ['device', 'threads', 'allowTf32']
    const loading = [...hub, ...device, 'dtype', 'rotaryDtype', 'quantised']
    const rowOptions = ['tokenizer', 'maxLength', 'template', 'trainOn']
    const parameter = new Parameter('q', Tensor.zeros([1], { device: library.openDevice({ device: 'cpu' }) }))
    const loaded = await library.loadModel(model, { device: 'cpu', dtype: 'float32' })
    disposables.push(parameter, loaded)
    const calls: [string, readonly string[], object, (given: never) => unknown][] = [
      ['loadModel', loading, {}, async (given) => (await library.loadModel(model, given)).dispose()],
      [
        'initModel',
        [...loading, 'seed', 'tokenizer'],
        {},
        async (given) => (await library.initModel(join(model, 'config.json'), given)).dispose(),
      ],
      [
        'mergeModel',
        ['model', 'adapter', 'output', 'format', 'dtype', 'allowOtherBase', 'onProgress', ...hub, ...device],
        paths,
        library.mergeModel,
      ],
      [
        'exportAdapter',
        ['model', 'adapter', 'output', 'format', 'approximateRank', 'force', 'dtype', 'threads', ...hub],
        paths,
        library.exportAdapter,
      ],
      [
        'pushToHub',
        ['path', 'repository', 'private', 'revision', 'message', 'checkpoints', 'onProgress', 'onWarning', 'signal'],
        { path: folder, repository: 'owner/name' },
        library.pushToHub,
      ],
      [
        'analyzeAdapter',
        ['model', 'adapter', 'threshold', 'allowOtherBase', 'threads', 'onProgress', ...hub],
        paths,
        library.analyzeAdapter,
      ],
      [
        'analyzeModels',
        ['model', 'base', 'threshold', 'threads', 'onProgress', ...hub],
        { model, base: model },
        library.analyzeModels,
      ],
      [
        'loadDataset',
        [...rowOptions, ...hub, 'vocabularySize', 'keepWithoutTarget', 'cacheDir', 'onProgress', 'purpose'],
        { tokenizer: null, cacheDir: null },
        (given) => library.loadDataset(rows, given),
      ],
      [
        'DataLoader',
        [...rowOptions, 'batchSize', 'seed', 'packing', 'shuffle', 'epochs', 'state'],
        {},
        (given) => new DataLoader([{ ids: [1, 2] }], given)[Symbol.asyncIterator]().next(),
      ],
      ['openDevice', device, {}, library.openDevice],
      [
        'moraLayer',
        ['inFeatures', 'outFeatures', 'rank', 'operator', 'foldOutput', 'device', 'squareSide'],
        { inFeatures: 2, outFeatures: 2 },
        library.moraLayer,
      ],
      [
        'schedule',
        [
          'learningRate',
          'scheduler',
          'totalSteps',
          'warmupSteps',
          'warmupRatio',
          'minLearningRateRatio',
          'mergeEvery',
          'restartWarmupSteps',
        ],
        { learningRate: 1, totalSteps: 2 },
        (given) => library.schedule(given)(0),
      ],
      ['AdamW', ['beta1', 'beta2', 'epsilon', 'weightDecay'], {}, (given) => new AdamW([parameter], given).dispose()],
      [
        'generate',
        [
          'prompt',
          'system',
          'messages',
          'stop',
          'raw',
          'template',
          'temperature',
          'topP',
          'topK',
          'seed',
          'onText',
          'onWarning',
          'signal',
        ],
        { prompt: 'a', maxNewTokens: 1 },
        (given) => library.generate(loaded, given),
      ],
      [
        'evaluate',
        ['task', 'data', 'limit', 'batchSize', 'window', 'stride', 'onProgress', ...hub],
        { task: 'perplexity', data: rows },
        (given) => library.evaluate(loaded, given),
      ],
      [
        'train',
        [
          'data',
          'method',
          'rank',
          'learningRate',
          'scheduler',
          'epochs',
          'saveMinutes',
          'onEvent',
          'signal',
          'resume',
          'ranks',
        ],
        { data: rows, maxSteps: 1 },
        (given) => library.train(loaded, given),
      ],
    ]
    const wrong: string[] = []
    for (const [name, keys, right, call] of calls) {
      for (const key of keys) {
        for (const [kind, value] of Object.entries(VALUES)) {
          // A valid size that takes forever, or all memory.
          if (kind === 'huge') continue
          const error = await outcomeOf(() => call({ ...right, [key]: value } as never))
          if (error !== undefined && !(error instanceof MoraError))
            wrong.push(`${name}, ${key}: ${kind}: ${shown(error)}`)
        }
      }
    }
    expect(wrong).toEqual([])
  })
})
