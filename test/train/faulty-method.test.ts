/** Faulty custom methods: the trained values are kept, and messages say what is wrong. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type AdapterMethod, DeltaLayer, matmul, mul, type Parameter, Tensor, type Weight } from 'node-mora/adapters'
import { describe, expect, test } from 'vitest'
import { type LoraXsConfig, loraXsMethod } from '../../examples/adapters/lora-xs.js'
import { adapterFacts } from '../../lib/cli/inspect/adapter.js'
import { newestIntactCheckpoint } from '../../lib/train/checkpoints/checkpoint.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { readTensors } from '../golden/files.js'
import { expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { writeRows } from './tiny-run.js'

type Method = AdapterMethod<LoraXsConfig>

const folder = useTemporaryFolder()
const rows = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
let names = 0

/** LoRA-XS by another name, with changes. */
function changed(changes: (own: Method) => Partial<Method>): Method {
  const name = `faulty-${names++}` as 'lora-xs'
  const config: Method['config'] = (options) => ({ ...loraXsMethod.config(options), method: name })
  const own = { ...loraXsMethod, name, config, peft: { ...loraXsMethod.peft, peft_type: name } }
  return { ...own, ...changes(own) }
}

async function run(method: Method, more: Partial<TrainOptions> = {}): Promise<void> {
  using model = await loadTiny('tiny-untied')
  const data = writeRows(folder(), 'rows.jsonl', rows)
  const output = join(folder(), 'out')
  const options = { data, output, maxSteps: 4, batchSize: 2, rank: 3, targetModules: ['q_proj', 'up_proj'], ...more }
  await train(model, { ...options, method }).finished
}

const failing = () => {
  throw new TypeError("Cannot read properties of undefined (reading 'x')")
}

describe('the trained state', () => {
  test.each([
    [
      'fails',
      failing,
      /^The method faulty-\d+ failed in peft\.n\.write: TypeError at faulty-method\.test\.ts:\d+; step 4 is/,
    ],
    [
      'gives a function',
      () => failing,
      /^The method .* for peft\.n\.write: expected a value that JSON can hold, or undefined; step 4 is/,
    ],
    ['gives what JSON cannot hold', () => 1n, /^The method .* for peft\.n\.write: expected a value that JSON can hold/],
  ])('is on disk when an entry %s, and a resumed run writes the adapter', async (_, write, message) => {
    const entry = { write: write as () => unknown }
    const method = changed(({ peft }) => ({ peft: { ...peft, n: entry } }))
    const output = join(folder(), 'out')
    await expect(run(method)).rejects.toMatchObject({ code: 'faulty-method', message: expect.stringMatching(message) })
    const checkpoint = join(output, 'checkpoints', 'step-000004')
    expect(await newestIntactCheckpoint(join(output, 'checkpoints'), () => {})).toBe(checkpoint)
    await expect(run(method, { resume: true })).rejects.toThrow(
      `step 4 is saved in ${checkpoint}, from which the run continues once it is resumed.`,
    )
    expect(existsSync(join(output, 'adapter_config.json'))).toBe(false)

    entry.write = () => 1
    await run(method, { resume: true })
    const whole = join(folder(), 'whole')
    await run(
      changed(() => ({})),
      { output: whole },
    )
    const trained = (path: string) => readTensors(join(path, 'adapter_model.safetensors'))
    expect(trained(output)).toEqual(trained(whole))
  })

  test('is on disk when a later checkpoint fails so, and earlier steps are not repeated', async () => {
    let calls = 0
    const entry = { write: () => (++calls === 2 ? failing() : 1) }
    const method = changed(({ peft }) => ({ peft: { ...peft, n: entry } }))
    await expect(run(method, { saveEvery: 1 })).rejects.toThrow(
      /step 2 is saved in .*step-000002, from which the run continues/,
    )
    const seen: string[] = []
    await run(method, { saveEvery: 1, resume: true, onEvent: (event) => void seen.push(event.type) })
    expect(seen.filter((type) => type === 'step')).toHaveLength(2)
  })
})

describe('the values of a method are checked, and messages name it', () => {
  const at = /beside model\.layers\.0\.self_attn\.q_proj/.source
  const tensors = (name: string, part: object) => ({ tensors: { ...loraXsMethod.tensors, [name]: part } as never })
  const shape = loraXsMethod.tensors.xs_M!.shape
  const cases: [string, Partial<Method>, string][] = [
    [
      'a shape',
      tensors('xs_M', { shape: () => [Number.NaN, 3] }),
      `gave \\[null,3\\] for tensors\\.xs_M\\.shape ${at}: expected a list of whole numbers`,
    ],
    ['no shape', tensors('xs_M', { shape: () => undefined }), `gave undefined for tensors\\.xs_M\\.shape ${at}`],
    [
      'values of another length',
      tensors('xs_M', { shape, initial: () => new Float32Array(4) }),
      `gave an object of Float32Array of length 4 for its tensor xs_M ${at}: expected a Float32Array of length 9 \\(3 × 3\\)`,
    ],
    [
      'values of another kind',
      tensors('xs_M', { shape, initial: () => [1, 2] }),
      `gave \\[1,2\\] for its tensor xs_M ${at}`,
    ],
    [
      'a rate',
      tensors('xs_M', { shape, learningRateRatio: () => 'fast' }),
      'gave "fast" for tensors\\.xs_M\\.learningRateRatio: expected a finite number',
    ],
    [
      'values that no tensor of its shape holds',
      tensors('xs_M', {
        shape,
        initial: ({ weight }: { weight: Weight }) =>
          Tensor.from(new Float32Array(4), [3, 3], { device: weight.tensors[0]!.device }),
      }),
      `failed in tensors\\.xs_M\\.initial ${at} for a tensor of 3 × 3: fromArray: expected 36 bytes`,
    ],
    [
      'a tensor of another shape',
      tensors('xs_M', {
        shape,
        initial: ({ weight }: { weight: Weight }) => Tensor.zeros([2, 3], { device: weight.tensors[0]!.device }),
      }),
      `gave .* \\(a tensor of float32, 2 × 3\\) for its tensor xs_M ${at}: expected a Float32Array of length 9 \\(3 × 3\\)`,
    ],
    [
      'first values that fail',
      tensors('xs_M', { shape, initial: failing }),
      `failed in tensors\\.xs_M\\.initial ${at}: TypeError at faulty-method\\.test\\.ts`,
    ],
    [
      'values found together',
      { initial: async () => ({ xs_Q: new Float32Array(9) }) },
      `gave .* for initial ${at}: expected an object with values of xs_A, xs_M, xs_B`,
    ],
    ['a rejection', { initial: async () => failing() }, `failed in initial ${at}: TypeError`],
    [
      'costs',
      { layerMemory: () => ({ working: Number.NaN }) },
      `gave .* for layerMemory ${at}: expected finite numbers`,
    ],
    ['a limit', { rankLimit: () => 8 as never }, `gave 8 for rankLimit ${at}`],
    [
      'a learning rate',
      { learningRate: () => Number.NaN },
      'gave NaN for learningRate: expected a finite number of at least 0',
    ],
    [
      'a configuration',
      { config: () => undefined as never },
      'gave undefined for config: expected an object with method "faulty-',
    ],
    [
      'no layer',
      { layer: () => ({ parameters: [] }) as never },
      `gave .* for layer ${at}: expected an object with parameters, forward`,
    ],
    [
      'a misspelt tensor',
      { layer: (_, __, tensors) => tensors.parameter('xs_Q') as never },
      `declares no tensor xs_Q of float32 ${at}; it declares xs_A, xs_M, xs_B`,
    ],
    ['a fit that fails', { requireFit: failing }, `failed in requireFit ${at}: TypeError`],
  ]
  test.each(cases)('%s', async (_, changes, message) => {
    const error: unknown = await run(changed(() => changes)).catch((error: unknown) => error)
    expect(error).toMatchObject({
      code: 'faulty-method',
      message: expect.stringMatching(`^The method faulty-\\d+ ${message}`),
    })
  })

  const layerWith = (part: object) => ({
    layer: (...args: Parameters<Method['layer']>) => Object.assign(loraXsMethod.layer(...args), part),
  })
  test.each([
    [
      'forward',
      layerWith({ forward: () => undefined }),
      /gave undefined for layer\.forward beside .*: expected a tensor/,
    ],
    ['forward that fails', layerWith({ forward: failing }), /failed in layer\.forward beside .*: TypeError at faulty/],
    [
      'asWeightUpdate',
      layerWith({ makesWeight: true, asWeightUpdate: () => 3 }),
      /gave 3 for layer\.asWeightUpdate beside .*: expected an/,
    ],
    [
      'delta of another shape',
      layerWith({
        form: { readsWeight: true, delta: (weight: Tensor) => weight.rows(0, 1) },
        forward: DeltaLayer.prototype.forward,
      }),
      /gave .* for layer\.delta beside .*: expected a float32 tensor \[\d+, \d+\]/,
    ],
    [
      'delta that fails',
      layerWith({ form: { delta: failing }, forward: DeltaLayer.prototype.forward }),
      /failed in layer\.delta beside .*: TypeError at faulty/,
    ],
  ])('the results of its layer: %s', async (_, changes, message) => {
    await expect(run(changed(() => changes))).rejects.toMatchObject({
      code: 'faulty-method',
      message: expect.stringMatching(message),
    })
  })

  test.each([
    ['of its only trained tensor', {}, 'xs_M'],
    ['of one of two', { xs_N: { shape: () => [2] } }, 'xs_N'],
  ])('a gradient that is forgotten: %s', async (_, more, tensor) => {
    const layer: Method['layer'] = (config, options, tensors) => {
      const own = ['xs_A', 'xs_M', 'xs_B'].map((name) => tensors.parameter(name))
      const [a, m, b] = own as [Parameter, Parameter, Parameter]
      const all = tensors.has('xs_N') ? [...own, tensors.parameter('xs_N')] : own
      const delta = () => (tensors.has('xs_N') ? matmul(b, matmul(m, a)) : mul(matmul(b, a), 0))
      return new DeltaLayer(options, config.dropout, all, { delta })
    }
    const method = changed(() => ({ layer, tensors: { ...loraXsMethod.tensors, ...more } }))
    await expect(run(method)).rejects.toMatchObject({
      code: 'faulty-method',
      message: expect.stringMatching(
        `^The method faulty-\\d+ gives its tensor ${tensor} ${at} no gradient: compute with it`,
      ),
    })
  })

  test('a misspelt tensor of its description, when a file is inspected', async () => {
    const method = changed(() => ({ describeLayer: (shapeOf) => ({ side: shapeOf('xs_Q')[0]! }) }))
    await run(method)
    await expect(adapterFacts(join(folder(), 'out'), undefined)).rejects.toThrow(
      /declares no tensor xs_Q beside .*; it declares xs_A, xs_M, xs_B/,
    )
  })

  test('a configuration that is read', async () => {
    await run(changed(({ peft }) => ({ peft: { ...peft, n: { read: () => 3 as never, write: () => 1 } } })))
    using model = await loadTiny('tiny-untied')
    await expect(model.loadAdapter(join(folder(), 'out'))).rejects.toThrow(
      /gave 3 for peft\.n\.read: expected an object/,
    )
  })

  test('a declaration, when it is registered', async () => {
    await expect(run(changed(() => tensors('xs_M', null as never)))).rejects.toThrow(
      'Expected a declaration with a shape for tensors.xs_M but received null.',
    )
  })
})
