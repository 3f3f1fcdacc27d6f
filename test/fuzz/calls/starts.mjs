/**
 * Valid arguments by the name of the target; other targets are called without any. `native.` functions also have recorded ones.
 */
import { join } from 'node:path'

/** Far slower than others: called less often. */
export const slow = new Set([
  'analyzeAdapter',
  'evaluate',
  'exportAdapter',
  'generate',
  'generateStream',
  'importanceMatrix',
  'initModel',
  'loadModel',
  'meanLoss',
  'mergeModel',
  'train',
  'doctor',
  'loadTokenizer',
  'loadDataset',
  'newestIntactCheckpoint',
  'saveCheckpoint',
  'loadCheckpoint',
  'gradientCheck',
])
export const isSlow = ({ name, owner }) =>
  slow.has(name) || ['Model', 'ForwardPasses', 'Chat', 'AdapterSet'].includes(owner)

/** Targets that a test must not call, and why. */
export const excluded = {
  'native.shutdown': 'no device of the process works after it',
  'native.connectMpi': 'what is opened becomes part of the process, and once',
  'native.mpiVersion': 'what is opened becomes part of the process',
  'native.ncclVersion': 'what is opened becomes part of the process',
  'native.glooVersion': 'what is opened becomes part of the process',
  'native.createSharedMemory': 'a descriptor is another file of this process once it is closed',
  'native.mapToRead': 'descriptors are files of this process',
  'native.mapToWrite': 'descriptors are files of this process, which it would write',
  'native.openGloo': 'what is opened becomes part of the process, and once',
  'native.connectGloo': 'what is opened becomes part of the process, and once',
}

const onlyTheAddon = 'its objects are made by the addon alone'
/** Targets that refuse everything that a test can pass, and why. */
export const refusing = {
  'new Model': 'its parts are made by loadModel and initModel',
  gradientCheck: 'the methods of the library are not exported, and one of a test is a file of functions',
  pushToHub: 'nothing is pushed without the network',
  'Tensor.prototype.backward': 'the tensors that calls are made on are no scalars',
  'Run.prototype.save': 'a run that is over has nothing to save, and one that trains is never waited for here',
  'new NativeDevice': onlyTheAddon,
  'new NativeTensor': onlyTheAddon,
  'new NativeFile': onlyTheAddon,
  'new NativeRecording': onlyTheAddon,
  'new NativeRanks': onlyTheAddon,
}

/** @param {import('./world.mjs').World} world */
export function startsOf(world) {
  const { library, paths, device } = world
  const tensor = (...given) => world.tensor(...given)
  const native = (dtype, shape, strides) => world.nativeTensor(dtype, shape, strides)
  const rows = () => [{ ids: [1, 2, 3], mask: [0, 1, 1], row: 0 }]
  const square = () => ({ inFeatures: 8, outFeatures: 8, side: 4, rotate: true, truncate: false, foldOutput: false })
  const output = () => join(paths.outputs, `${world.next()}`)
  const offsets = () => tensor([0, 3], [2], 'int32').native
  const coded = () => ({
    codes: native('uint8', [2, 4]),
    table: null,
    scales: native('float32', [4]),
    zeros: null,
    groups: null,
    scaleTable: null,
    scaleScales: null,
    layout: {
      columns: 8,
      firstRow: 0,
      rowsPerScale: 1,
      groupSize: 4,
      scalesPerScale: 1,
      scaleOffset: 0,
      zero: 8,
      bits: 4,
      highFirst: false,
      runsOn: false,
    },
  })
  const greedy = () => ({ temperature: 0, topK: 0, topP: 1, uniform: 0 })
  const plain = { device: 'cpu', dtype: 'float32', threads: 2 }
  return {
    squareSide: () => [8, 8, 2, 'rotation'],
    analyzeAdapter: () => [{ model: paths.model, adapter: paths.adapter, threads: 2 }],
    spectrumOf: () => [Float32Array.of(1, 2, 3, 4), 2, 2, 0.1],
    loadDataset: () => [paths.rows, { tokenizer: null, cacheDir: null }],
    pushToHub: () => [{ path: paths.adapter, repository: 'owner/name' }],
    readRows: () => [paths.rows, {}],
    packBatch: () => [rows(), { padTo: 4 }],
    loadTokenizer: () => [paths.model, {}],
    evaluate: () => [world.model, { task: 'perplexity', data: paths.rows }],
    importanceMatrix: () => [world.model, { data: paths.rows, output: output() }],
    generate: () => [world.model, { prompt: 'a', maxNewTokens: 2 }],
    generateStream: () => [world.model, { prompt: 'a', maxNewTokens: 2 }],
    exportAdapter: () => [{ model: paths.model, adapter: paths.adapter, output: output(), format: 'peft', threads: 2 }],
    initModel: () => [join(paths.model, 'config.json'), { ...plain, seed: 1 }],
    loadModel: () => [paths.model, { ...plain }],
    mergeModel: () => [{ model: paths.model, adapter: paths.adapter, output: output(), threads: 2 }],
    moraLayer: () => [{ inFeatures: 8, outFeatures: 8, rank: 1, device: 'cpu' }],
    openDevice: () => [{ device: 'cpu', threads: 2 }],
    clipGradNorm: () => [[world.parameter()], 1],
    schedule: () => [{ learningRate: 1, totalSteps: 2 }],
    crossEntropy: () => [tensor([1, 2, 3, 4], [2, 2]), tensor([0, 1], [2], 'int32')],
    linearCrossEntropy: () => [
      tensor([1, 2, 3, 4], [2, 2]),
      tensor([1, 2, 3, 4], [2, 2]),
      tensor([0, 1], [2], 'int32'),
      { scale: 1, softcap: 2 },
    ],
    ...Object.fromEntries(
      ['add', 'sub', 'mul', 'div'].map((name) => [name, () => [tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2], [2])]]),
    ),
    ...Object.fromEntries(
      [
        ...['exp', 'log', 'sqrt', 'square', 'tanh', 'sigmoid', 'softplus', 'logSigmoid', 'relu'],
        ...['softmax', 'logSoftmax'],
      ].map((name) => [name, () => [tensor([1, 2, 3, 4], [2, 2])]]),
    ),
    sum: () => [tensor([1, 2, 3, 4], [2, 2]), [0], true],
    mean: () => [tensor([1, 2, 3, 4], [2, 2]), -1, false],
    logSumExp: () => [tensor([1, 2, 3, 4], [2, 2]), 0],
    clamp: () => [tensor([1, 2, 3, 4], [2, 2]), 1.5, 3],
    reshape: () => [tensor([1, 2, 3, 4], [2, 2]), [4]],
    concat: () => [[tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2], [1, 2])], 0],
    stack: () => [[tensor([1, 2], [2]), tensor([3, 4], [2])], -1],
    cast: () => [tensor([1, 2, 3, 4], [2, 2]), 'bfloat16'],
    gather: () => [tensor([1, 2, 3, 4], [2, 2]), [0, 1], 0],
    gatherRows: () => [tensor([1, 2, 3, 4], [2, 2]), [1]],
    slice: () => [tensor([1, 2, 3, 4], [2, 2]), 0, 1],
    linear: () => [tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2], [2])],
    matmul: () => [tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2, 3, 4], [2, 2])],
    scope: () => [() => tensor([1], [1])],
    noGrad: () => [() => tensor([1], [1])],
    tokeniseRow: () => [{ input_ids: [1, 2, 3] }, { tokenizer: null }],
    tokenLogProbs: () => [world.model, world.batch(), { temperature: 2, gradients: false }],
    randomStream: () => [1, 'a', 2],
    saveCheckpoint: () => [paths.outputs, { model: world.model, optimizer: world.of('AdamW'), step: 1 }],
    loadCheckpoint: async () => {
      const parts = { model: world.model, optimizer: world.of('AdamW') }
      return [await library.saveCheckpoint(paths.outputs, { ...parts, step: 1 }), parts]
    },
    newestIntactCheckpoint: () => [paths.outputs, () => {}],
    meanLoss: () => [world.model, [world.batch()]],
    train: () => [world.model, { data: paths.rows, output: output(), maxSteps: 1, batchSize: 1 }],

    'new AdamW': () => [[world.parameter()], { beta1: 0.9 }],
    'new Chat': () => [world.model, { maxNewTokens: 2, template: paths.template }],
    'new DataLoader': () => [rows(), { seed: 1 }],
    'new Model': () => [{ weights: {} }],
    'new MoraSingleLayer': () => [{ inFeatures: 8, outFeatures: 8, rank: 1, device: 'cpu' }],
    'new Parameter': () => ['p', tensor([1, 2], [2])],
    'new Run': () => [async () => ({}), () => {}],
    'new Tensor': () => [native('float32', [2]), device, 'float32', [2], [1]],
    ...Object.fromEntries(
      ['MoraError', 'InputError', 'RunError', 'UsageError'].map((name) => [
        `new ${name}`,
        () => ['a-code', 'a message'],
      ]),
    ),

    'Tensor.empty': () => [[2, 3], { device }],
    'Tensor.zeros': () => [[2, 3], { device, dtype: 'bfloat16' }],
    'Tensor.from': () => [Float32Array.of(1, 2, 3, 4), [2, 2], { device }],
    'Run.prototype.log': () => [{ own: 1 }],
    'Tensor.prototype.view': () => [[4], [1], 0],
    'Tensor.prototype.memoryAs': () => ['uint8', [8], 4],
    'Tensor.prototype.columns': () => [0, 1],
    'Tensor.prototype.rows': () => [0, 1],
    'Tensor.prototype.copyFrom': () => [tensor([4, 3, 2, 1], [2, 2])],
    'Tensor.prototype.bytesInto': () => [new Uint8Array(16)],
    'Tensor.prototype.assign': () => [Float32Array.of(4, 3, 2, 1)],
    'Parameter.prototype.assign': () => [Float32Array.of(1, 2)],
    'Parameter.prototype.as': () => ['bfloat16', 2],
    'Parameter.prototype.derived': () => ['a', () => tensor([1], [1])],
    'Parameter.prototype.derivedOnce': () => ['a', () => tensor([1], [1])],
    'AdamW.prototype.setParameters': () => [[world.parameter()]],
    'AdamW.prototype.step': () => [{ learningRate: 0.1, maxGradNorm: 1 }],
    'AdamW.prototype.load': () => [
      {
        updates: { p: 1 },
        tensors: new Map(['p.first_moment', 'p.second_moment'].map((name) => [name, Float32Array.of(1, 2)])),
      },
    ],
    'Chat.prototype.say': () => ['a'],
    'Dataset.prototype.row': () => [0],
    'Dataset.prototype.rowLength': () => [0],
    'Dataset.prototype.pieces': () => [0],
    'Dataset.prototype.requireRow': () => [0],
    'DataLoader.prototype.load': () => [{ step: 1 }],
    'DataLoader.prototype.sampled': () => [rows()],
    'DataLoader.prototype.streamed': () => [rows()],
    'DataLoader.prototype.pack': () => [rows()],
    'new KeyValueCache': () => [world.model.config, 8, 'float32', device],
    'MoraSingleLayer.prototype.forward': () => [new Float32Array(8), null, world.square()],
    'MoraSingleLayer.prototype.backward': () => [new Float32Array(8), null, world.square(), new Float32Array(8)],
    'MoraSingleLayer.prototype.delta': () => [world.square()],

    'Model.prototype.slot': () => ['model.norm.weight'],
    'Model.prototype.addAdapter': () => ['b', library.mora({ rank: 1 }), { seed: 1 }],
    'Model.prototype.loadAdapter': () => [paths.adapter, 'b'],
    'Model.prototype.saveAdapter': () => ['a', output()],
    'Model.prototype.mergeAdapter': () => ['a', {}],
    'Model.prototype.unmergeAdapter': async () => {
      await world.model.mergeAdapter('a').catch(() => {})
      return ['a']
    },
    'Model.prototype.restartAdapter': () => ['a', { seed: 1 }],
    'Model.prototype.absorbAdapter': () => [paths.adapter],
    'Model.prototype.removeAdapter': () => ['a'],
    'Model.prototype.setActiveAdapters': () => [['a']],
    'Model.prototype.withAdapters': () => [['a']],
    'ModelView.prototype.withAdapters': () => [[{ name: 'a', scale: 0.5 }]],
    'Model.prototype.moduleNames': () => [['norms']],
    'Model.prototype.setAdapterScale': () => ['a', 2],
    'Model.prototype.untrainedTokens': () => [[1, 2]],
    'ForwardPasses.prototype.setDropout': () => [{ seed: 1, step: 1 }],
    'ForwardPasses.prototype.loss': () => [world.batch()],
    'ForwardPasses.prototype.forward': () => [world.batch(), { rows: 'targets' }],
    'ForwardPasses.prototype.lossAsync': () => [world.batch(), { gradients: true }],
    'ForwardPasses.prototype.forwardAsync': () => [world.batch(), { gradients: true }],
    'ForwardPasses.prototype.tokenLogProbs': () => [world.batch()],
    'ForwardPasses.prototype.createCache': () => [8],
    'ForwardPasses.prototype.next': () => [[1, 2], world.cache()],
    'ForwardPasses.prototype.nextToken': () => [[1], world.cache(), greedy()],
    'Model.prototype.save': () => [output(), { dtype: 'float32' }],

    'native.openDevice': () => ['cpu', 0, 2],
    'native.whyUnavailable': () => ['cuda'],
    'native.deviceCount': () => ['cpu'],
    'native.openFile': () => [paths.weights],
    'native.setErrorClass': () => [world.NativeError],
    'native.setCudaLibrary': () => ['', '', ''],
    'native.supports': () => [device, 'matmul', ['float32', 'q8_0']],
    'native.empty': () => [device, 'float32', [2, 3]],
    'native.fromArray': () => [device, 'float32', [2, 2], Float32Array.of(1, 2, 3, 4)],
    'native.fromFile': () => [device, 'float32', [2, 2], world.file(), 64],
    'native.readRows': () => [native('float32', [2, 2]), world.file(), 64, Int32Array.of(1, 0)],
    'native.foldedSide': () => [square(), 'float32', device],
    'native.record': () => [() => world.binary.fill(native('float32', [4]), 1)],
    'native.svd': () => [Float32Array.of(1, 2, 3, 4, 5, 6), 3, 2, true],
    'native.orthonormalColumns': () => [Float32Array.of(1, 2, 3, 4, 5, 6), 3, 2],
    'native.unpackCodes': () => [coded(), null, native('float32', [2, 8])],
    'native.matmulCodes': () => [
      {
        a: native('float32', [3, 8]),
        b: coded(),
        transposeB: true,
        c: native('float32', [3, 2]),
        alpha: 1,
        accumulate: false,
      },
    ],
    'native.quantise': () => ['q8_0', new Float32Array(64), 32, null, 1],
    'native.drawUniform': () => [new Float32Array(3), 1, 2, 3, 0.5],
    'native.quantiseNf4': () => [new Float32Array(64), 1],
    'native.dequantise': () => [native('q8_0', [2, 32]), native('float32', [2, 32])],
    'native.crossEntropy': () => [
      native('float32', [2, 3]),
      native('int32', [2]),
      2,
      native('float32', [2]),
      native('float32', [2, 3]),
    ],
    'native.crossEntropyPart': () => [
      {
        logits: native('float32', [2, 3]),
        targets: native('int32', [2]),
        part: { first: 0, softcap: 2 },
        values: native('bfloat16', [3, 4]),
        running: native('float32', [2, 4]),
        exponentials: native('bfloat16', [2, 3]),
        sums: native('float32', [2, 4]),
        chosen: native('bfloat16', [2, 4]),
      },
    ],
    'native.crossEntropyOfParts': () => [
      {
        running: native('float32', [2, 4]),
        targets: native('int32', [2]),
        softcap: 2,
        scale: 1,
        sums: native('float32', [2, 4]),
        losses: native('float32', [2]),
        dX: native('bfloat16', [2, 4]),
      },
    ],
    'native.matmulInt8': () => [
      { a: native('float32', [4, 32]), b: native('float32', [8, 32]), transposeB: true, c: native('float32', [4, 8]) },
    ],
    'native.largestDifference': () => [native('float32', [4]), native('float32', [4]), native('float32', [1]), false],
    'native.columnSums': () => [native('float32', [3, 4]), native('float32', [4]), false],
    'native.gatherColumns': () => [native('float32', [2, 4]), native('int32', [3]), native('float32', [2, 3]), false],
    'native.embeddingBackward': () => [native('float32', [2, 4]), native('int32', [2]), native('float32', [3, 4])],
    'native.dropout': () => [
      native('float32', [2, 4]),
      native('int64', [2]),
      { key: [1, 2], probability: 0.5 },
      native('float32', [2, 4]),
    ],
    'native.causalConvolution': () => [
      native('float32', [3, 4]),
      native('float32', [4, 2]),
      native('float32', [4]),
      offsets(),
      native('float32', [3, 4]),
    ],
    'native.causalConvolutionBackward': () => [
      {
        dY: native('float32', [3, 4]),
        x: native('float32', [3, 4]),
        kernel: native('float32', [4, 2]),
        offsets: offsets(),
        dX: native('float32', [3, 4]),
        dKernel: native('float32', [4, 2]),
      },
    ],
    'native.elementwise': () => ['multiply', ...[1, 2, 3].map(() => native('float32', [2, 5])), false],
    'native.softmaxRows': () => [native('float32', [2, 5]), true, native('float32', [2, 5])],
    'native.softmaxRowsBackward': () => [
      {
        dY: native('float32', [2, 5]),
        y: native('float32', [2, 5]),
        logarithm: true,
        dX: native('float32', [2, 5]),
        accumulate: false,
      },
    ],
    'native.capLogits': () => [native('float32', [2, 5]), 3],
    'NativeDevice.prototype.setThreads': () => [2],
    'NativeDevice.prototype.setMemoryLimit': () => [2 ** 30],
    'NativeDevice.prototype.setAllowTf32': () => [false],
    'NativeDevice.prototype.profile': () => [false],
    'NativeTensor.prototype.view': () => [[2], [1], 0],
    'NativeTensor.prototype.as': () => ['uint8', [8], 0],
    'NativeTensor.prototype.read': () => [new Uint8Array(16)],
    'NativeFile.prototype.bytes': () => [0, 8],
    'NativeFile.prototype.firstNotFinite': () => [0, 8, 4, [0, 2]],
  }
}
