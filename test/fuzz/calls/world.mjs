/**
 * The objects that calls are made on (a small model with an adapter, files, tensors), and the state that must not change
 * meanwhile.
 */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Recorded } from './recorded.mjs'

const SMALL = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  vocab_size: 512,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
}
const THREADS = 2
const plain = { device: 'cpu', dtype: 'float32', threads: THREADS }
/** Bytes of the device, so that nothing fills the machine's memory. */
const LIMIT = 2 ** 28
/** Pieces of the device's memory between those that calls use. */
const CANARIES = { count: 48, bytes: 4096, value: 0x5a }

export class World {
  /** The objects in the arguments of this call; see Hostile. */
  parts = { disposables: [], buffers: [], arrays: [] }
  /** The longest list of holes, so that JavaScript's loops over it end in time. */
  longest = 1000
  #kept = new Map()
  #made = 0

  /**
   * @param {object} given
   * @param {object} given.library the package
   * @param {object} given.binary the addon
   * @param {Function} given.NativeError
   * @param {string} given.scratch a folder
   * @param {string} given.golden golden data
   */
  static async make(given) {
    const world = new World(given)
    await world.#prepare()
    return world
  }

  constructor({ library, binary, NativeError, scratch, golden }) {
    Object.assign(this, { library, binary, NativeError, golden })
    const at = (name) => join(scratch, name)
    this.paths = { model: at('model'), adapter: at('adapter'), rows: at('rows.jsonl'), outputs: at('outputs') }
    this.paths.checkpoints = at('checkpoints')
    this.paths.weights = join(this.paths.model, 'model.safetensors')
    this.paths.template = join(golden, 'templates', 'chatml.jinja')
    this.device = library.openDevice({ device: 'cpu', threads: THREADS })
    this.recorded = new Recorded(binary, this.device)
    this.reentries = [
      () => binary.record(() => {}),
      () => binary.fill(this.nativeTensor('float32', [4]), 1),
      () => this.device.trim(),
      () => void this.device.synchronize().catch(() => {}),
      () => globalThis.gc(),
      () => this.device.setThreads(1),
    ]
  }

  async #prepare() {
    const { library, paths, golden } = this
    mkdirSync(paths.outputs, { recursive: true })
    cpSync(join(golden, 'tokenizers', 'small-bpe'), paths.model, { recursive: true })
    const config = join(paths.model, 'config.json')
    writeFileSync(config, JSON.stringify(SMALL))
    writeFileSync(paths.rows, '{"input_ids": [1, 5, 9, 3]}\n{"input_ids": [4, 5, 6]}\n')
    const made = await library.initModel(config, plain)
    await made.save(paths.model, { overwrite: true })
    made.addAdapter('a', library.lora({ rank: 2 }))
    await made.saveAdapter('a', paths.adapter)
    made.dispose()
    cpSync(join(golden, 'tokenizers', 'small-bpe'), paths.model, { recursive: true })
    this.dataset = await library.loadDataset(paths.rows, { tokenizer: null, cacheDir: null })
    this.form = await library.answerForm({ render: async () => '<think>' })
    await this.renew()
    this.classifier = await library.loadModel(paths.model, plain)
    this.classifier.addHead(['a', 'b'])
    await library.saveCheckpoint(paths.checkpoints, { model: this.model, optimizer: this.of('AdamW'), step: 1 })
    await this.recorded.during(() => this.#useEverything())
    this.canaries = Array.from({ length: CANARIES.count }, () => this.#canary())
    this.restore()
    this.expected = await this.#probe()
  }

  /** The model as it was at first. */
  async renew() {
    try {
      this.model?.dispose()
    } catch {
      // held for a run that never began: the collector finds it
    }
    this.model = await this.library.loadModel(this.paths.model, plain)
    this.model.addAdapter('a', this.library.mora({ rank: 2 }))
  }

  /** Trains, merges and generates by every method. */
  async #useEverything() {
    const { library, paths, golden } = this
    const family = (name) => join(golden, 'families', name, 'config.json')
    const methods = ['lora', 'dora', 'hira', 'miss', 'asylora', 'pissa', 'loraFa'].map((name) =>
      library[name]({ rank: 2 }),
    )
    const operators = library.operators.map((operator) => library.mora({ rank: 2, operator }))
    const models = [
      [() => library.loadModel(paths.model, plain), [...operators, ...methods]],
      [() => library.loadModel(paths.model, { ...plain, dtype: 'bfloat16' }), operators.slice(0, 2)],
      [() => library.initModel(family('gpt2'), plain), methods.slice(0, 1)],
      [() => library.initModel(family('gemma2'), plain), operators.slice(0, 1)],
    ]
    for (const [load, configs] of models) {
      const model = await load()
      for (const config of configs) {
        await model.addAdapter('b', config)
        model.setDropout({ seed: 1, step: 1 })
        const optimizer = new library.AdamW(model.trainableParameters().map(({ parameter }) => parameter))
        const { loss } = model.loss(this.batch())
        await loss.backward()
        loss.dispose()
        optimizer.step({ learningRate: 0.01, maxGradNorm: 1 }).dispose()
        optimizer.dispose()
        model.setDropout(null)
        await model.mergeAdapter('b')
        await model.unmergeAdapter('b')
        model.removeAdapter('b')
      }
      await model.tokenLogProbs(this.batch())
      const cache = model.createCache(8)
      for (const temperature of [0, 1])
        await model.nextToken([1], cache, { temperature, topK: 4, topP: 0.9, uniform: 0.5 })
      cache.dispose()
      model.dispose()
    }
  }

  /** A number that was not given before. */
  next() {
    return this.#made++
  }

  nativeTensor(dtype, shape, strides = denseStrides(shape)) {
    return this.#part(this.recorded.tensor(dtype, shape, strides))
  }

  tensor(values, shape, dtype = 'float32') {
    return this.#part(this.library.Tensor.from(values, shape, { device: this.device, dtype }))
  }

  square() {
    return new Float32Array(this.of('MoraSingleLayer').squareSide ** 2)
  }

  parameter() {
    const parameter = new this.library.Parameter('p', this.library.Tensor.from([1, 2], [2], { device: this.device }))
    parameter.grad = this.library.Tensor.from([1, 2], [2], { device: this.device })
    return this.#part(parameter)
  }

  batch() {
    return this.library.packBatch([{ ids: [1, 5, 9, 3], mask: [0, 1, 1, 1], row: 0 }])
  }

  file() {
    const file = this.binary.openFile(this.paths.weights)
    this.parts.disposables.push({ dispose: () => file.close() })
    return file
  }

  cache() {
    return this.#part(this.model.createCache(8))
  }

  memory() {
    return this.#part(this.model.createMemory({ capacity: 8, slots: 1 }))
  }

  #part(disposable) {
    this.parts.disposables.push(disposable)
    return disposable
  }

  /** An object of a class, by its name. */
  of(name) {
    const { library } = this
    const makers = {
      NativeDevice: () => this.device,
      NativeTensor: () => this.nativeTensor('float32', [2, 2]),
      NativeFile: () => this.file(),
      NativeRecording: () =>
        this.#part(this.binary.record(() => this.binary.fill(this.nativeTensor('float32', [4]), 1))),
      Tensor: () => this.tensor([1, 2, 3, 4], [2, 2]),
      Parameter: () => this.parameter(),
      AnswerReader: () => new library.AnswerReader({ form: this.form }),
      AdamW: () => this.#part(new library.AdamW([this.parameter()])),
      Model: () => this.model,
      ForwardPasses: () => this.model,
      Chat: () => this.#part(new library.Chat(this.model, { maxNewTokens: 2, template: this.paths.template })),
      TextEngine: () => this.#part(new library.TextEngine(this.model, { sequences: 2, tokens: 64 })),
      DataLoader: () => new library.DataLoader([{ ids: [1, 2, 3] }]),
      Dataset: () => this.dataset,
      MoraSingleLayer: () => library.moraLayer({ inFeatures: 8, outFeatures: 8, rank: 1, device: 'cpu' }),
      Run: () => finished(new library.Run(async () => ({}))),
      SequenceCache: () => this.cache(),
    }
    return makers[name] ? makers[name]() : this.#kept.get(name)
  }

  /** One of each class that is known without a call. */
  specimens() {
    return ['NativeDevice', 'NativeTensor', 'NativeFile', 'NativeRecording', 'SequenceCache'].map((name) =>
      this.of(name),
    )
  }

  /** Keeps the result of a call as an object of its class. */
  keep(object) {
    this.#kept.set(object.constructor.name, object)
  }

  /** Any object of the library. */
  object(random) {
    const names = [
      'NativeTensor',
      'Tensor',
      'NativeDevice',
      'Parameter',
      'NativeFile',
      'NativeRecording',
      'AdamW',
      'Model',
    ]
    return this.of(names[random.integer(names.length)])
  }

  /** Another object of the same class: of another form, or no longer usable. */
  variant(random, object) {
    const pick = (ways) => ways[random.integer(ways.length)]()
    const name = object.constructor?.name
    if (name === 'NativeTensor') return this.#otherTensor(random, object)
    const disposed = () => {
      const other = this.of(name)
      if (name !== 'Model') other?.dispose?.()
      return other
    }
    return pick([() => this.of(name), () => this.of(name), disposed])
  }

  #otherTensor(random, { dtype, shape, strides }) {
    const at = random.integer(shape.length + 1)
    const changed = (list, value) => list.map((one, i) => (i === at ? value : one))
    const dtypes = ['float32', 'bfloat16', 'float16', 'int32', 'int64', 'uint8']
    const ways = [
      () => this.nativeTensor(dtypes[random.integer(dtypes.length)], shape),
      () => this.nativeTensor(dtype, changed(shape, 0)),
      () => this.nativeTensor(dtype, changed(shape, shape[at] + 1)),
      () => this.nativeTensor(dtype, changed(shape, 1)),
      () => this.nativeTensor(dtype, shape, changed(strides, 0)),
      () => this.nativeTensor(dtype, shape, changed(strides, strides[at] + 3)),
      () => this.nativeTensor(dtype, [...shape].reverse(), [...strides].reverse()),
      () => this.nativeTensor(dtype, [...shape, 1].slice(-4)),
      () => this.nativeTensor(dtype, [shape.reduce((a, b) => a * b, 1)]),
      () => this.#filled(dtype, shape, [-1, 7, 1e6, -(2 ** 31), 2 ** 31 - 1, Number.NaN][random.integer(6)]),
      () => {
        const tensor = this.nativeTensor(dtype, shape)
        tensor.dispose()
        return tensor
      },
    ]
    try {
      return ways[random.integer(ways.length)]()
    } catch {
      return this.nativeTensor('float32', [1]) // blocks have not all of these forms
    }
  }

  #filled(dtype, shape, value) {
    const tensor = this.nativeTensor(dtype, shape)
    this.binary.fill(tensor, value)
    return tensor
  }

  /** Undoes changes of a call to the whole process. */
  restore() {
    const { binary, device } = this
    binary.setErrorClass(this.NativeError)
    device.setThreads(THREADS)
    device.setMemoryLimit(LIMIT)
    device.profile(false)
  }

  /** Throws where results or memory of others have changed. */
  async check() {
    const bits = await this.#probe()
    if (bits !== this.expected) throw new Error('a computation gives other bits than before')
    for (const canary of this.canaries) {
      const values = await canary.read()
      if (values.some((value) => value !== CANARIES.value))
        throw new Error('memory that nobody was given was written to')
    }
  }

  #canary() {
    const { bytes, value } = CANARIES
    return this.binary.fromArray(this.device, 'uint8', [bytes], new Uint8Array(bytes).fill(value))
  }

  /** The bits of a product, a norm and attention. */
  async #probe() {
    const outer = this.parts
    this.parts = { disposables: [], buffers: [], arrays: [] }
    const { binary } = this
    const make = (...shape) => this.nativeTensor('float32', shape)
    const [a, b, c, weight, out] = [make(33, 64), make(17, 64), make(33, 17), make(17), make(33, 17)]
    binary.matmul({ a, b, transposeB: true, c })
    binary.rmsNorm({ x: c, weight, weightOffset: 0, epsilon: 1e-5, y: out })
    const offsets = binary.fromArray(this.device, 'int32', [2], Int32Array.of(0, 33))
    const [q, result] = [a.view([33, 4, 16], [64, 16, 1], 0), make(33, 4, 16)]
    const scoring = { scale: 0.25, softcap: 0, window: 0 }
    binary.attention({ q, k: q, v: q, queryOffsets: offsets, keyOffsets: offsets, scoring, out: result })
    const bits = await Promise.all([out.read(), result.read()])
    for (const tensor of [...this.parts.disposables, offsets, q]) tensor.dispose()
    this.parts = outer
    return bits.map((values) => Buffer.from(values.buffer).toString('base64')).join()
  }
}

const denseStrides = (shape) => shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1))

function finished(run) {
  run.finished.catch(() => {})
  return run
}
