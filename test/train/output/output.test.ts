import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { thisProcess } from '../../../lib/io/process-identity.js'
import type { TrainInput } from '../../../lib/options/index.js'
import { whyTorn } from '../../../lib/train/checkpoints/checkpoint-files.js'
import { trainWith } from '../../../lib/train/train.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { TinyModel } from '../tiny-model.js'
import { notices, rows, steps, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

function optionsOf(changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, output: join(folder(), 'out'), batchSize: 4, maxSteps: 4, ...changes }
}

describe('the output folder', () => {
  it('holds the adapter, the run, its metrics, a checkpoint and a model card', async () => {
    const options = optionsOf({ evalData: writeRows(folder(), 'eval.jsonl', rows(3)), evalEvery: 2 })
    const { output } = options
    await trainTiny(options)
    expect(readdirSync(output).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'checkpoints',
      'metrics.jsonl',
      'run.yaml',
    ])
    const run = parse(readFileSync(join(output, 'run.yaml'), 'utf8'))
    expect(run.options).toMatchObject({
      method: 'mora',
      rank: 8,
      operator: 'rotation',
      learningRate: 0.05,
      scheduler: 'cosine',
      maxSteps: 4,
      maxLength: 64,
      seed: 7,
    })
    expect(run.hashes).toEqual({
      model: expect.stringMatching(/^[0-9a-f]{64}$/),
      data: expect.stringMatching(/^[0-9a-f]{64}$/),
      evalData: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(run.versions.node).toBe(process.versions.node)
    const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
    expect(lines.map((line) => Object.keys(JSON.parse(line)))).toEqual(
      [1, 2, 'evaluation', 3, 4, 'evaluation'].map((line) =>
        line === 'evaluation'
          ? ['step', 'epoch', 'evalLoss', 'time']
          : [
              'step',
              'epoch',
              'loss',
              'gradNorm',
              'learningRate',
              'targetTokens',
              'tokens',
              'tokensPerSecond',
              'memoryBytes',
              'time',
            ],
      ),
    )
    expect(readdirSync(join(output, 'checkpoints'))).toEqual(['step-000004'])
    expect(readdirSync(join(output, 'checkpoints', 'step-000004'))).toContain('adapter_config.json')
    expect(await whyTorn(join(output, 'checkpoints', 'step-000004'))).toBeNull()
    expect(readFileSync(join(output, 'README.md'), 'utf8')).toMatch(/^---\n.*\n---\n.*mora, rotation, rank 8/s)
  })

  it('holds the whole model, and no adapter, after method full', async () => {
    const options = optionsOf({ method: 'full' })
    await trainTiny(options)
    expect(readdirSync(options.output).sort()).toEqual([
      'README.md',
      'checkpoints',
      'metrics.jsonl',
      'model',
      'run.yaml',
    ])
  })

  it('T32 is refused when it holds a run, and nothing in it changes', async () => {
    const options = optionsOf()
    await trainTiny(options)
    const before = readFileSync(join(options.output, 'metrics.jsonl'), 'utf8')
    await expectRejection(trainTiny(options), 'output-exists', /holds a run.*resume.*overwrite/)
    expect(readFileSync(join(options.output, 'metrics.jsonl'), 'utf8')).toBe(before)
    expect(existsSync(join(options.output, '.lock'))).toBe(false)
  })

  it('T32 is replaced on request, but only files of a run', async () => {
    const options = optionsOf({ saveEvery: 1 })
    await trainTiny(options)
    writeFileSync(join(options.output, 'notes.txt'), 'mine')
    await trainTiny({ ...options, saveEvery: undefined, maxSteps: 2, overwrite: true })
    expect(readdirSync(join(options.output, 'checkpoints'))).toEqual(['step-000002'])
    expect(readFileSync(join(options.output, 'metrics.jsonl'), 'utf8').trim().split('\n').length).toBe(2)
    expect(readFileSync(join(options.output, 'notes.txt'), 'utf8')).toBe('mine')
  })

  it('keeps an earlier run when its replacement fails to begin', async () => {
    const options = optionsOf()
    await trainTiny(options)
    const broken = writeRows(folder(), 'broken.jsonl', [{ nothing: true }])
    await expect(trainTiny({ ...options, data: broken, overwrite: true })).rejects.toThrow(/broken\.jsonl/)
    expect(existsSync(join(options.output, 'adapter_model.safetensors'))).toBe(true)
  })

  it('is not left behind empty when a run fails to begin', async () => {
    const options = optionsOf({ data: join(folder(), 'absent.jsonl') })
    await expect(trainTiny(options)).rejects.toThrow(/absent\.jsonl/)
    expect(existsSync(options.output)).toBe(false)
  })
})

describe('the lock', () => {
  it('of a living process refuses the folder', async () => {
    const options = optionsOf()
    const first = trainWith(new TinyModel(), options)
    for await (const event of first) {
      if (event.type !== 'step') continue
      await expectRejection(trainTiny({ ...options, resume: true }), 'locked', new RegExp(`process ${process.pid}`))
      break
    }
    await first.finished
    await trainWith(new TinyModel(), { ...options, resume: true }).finished
  })

  it('of a dead process, or of an earlier one with the same number, is ignored', async () => {
    const ended = spawn(process.execPath, ['-e', ''])
    await new Promise((resolve) => ended.on('exit', resolve))
    const holders = [
      { ...thisProcess(), pid: ended.pid, started: null },
      { ...thisProcess(), started: 'another start' },
      'half a lo',
    ]
    for (const [i, holder] of holders.entries()) {
      const options = optionsOf({ output: join(folder(), `out-${i}`) })
      mkdirSync(options.output)
      const content = typeof holder === 'string' ? holder : JSON.stringify(holder)
      writeFileSync(join(options.output, '.lock'), content)
      const { result } = await trainTiny(options)
      expect(result.steps).toBe(4)
      expect(existsSync(join(options.output, '.lock'))).toBe(false)
    }
  })

  it('of another machine refuses the folder and names the file', async () => {
    const options = optionsOf()
    mkdirSync(options.output)
    writeFileSync(join(options.output, '.lock'), JSON.stringify({ pid: 1, host: 'elsewhere', started: null }))
    await expectRejection(trainTiny(options), 'locked', /elsewhere.*delete .*\.lock/)
  })
})

/** Makes the loss of a run rise. */
function negate(gradient: Float32Array): void {
  for (let i = 0; i < gradient.length; i++) gradient[i] = -gradient[i]!
}

describe('checkpoints', () => {
  it('are pruned to the newest ones, without losing the best', async () => {
    const data = writeRows(folder(), 'eval.jsonl', rows(13))
    const options = optionsOf({ evalData: data, evalEvery: 1, saveEvery: 1, keepCheckpoints: 2, keepBest: true })
    const disturb = (gradient: Float32Array, step: number) => {
      if (step > 2) negate(gradient)
    }
    await trainTiny({ ...options, maxSteps: 6, scheduler: 'constant', learningRate: 0.5 }, { disturb })
    const kept = readdirSync(join(options.output, 'checkpoints'))
    expect(kept).toEqual(['step-000002', 'step-000005', 'step-000006'])
  })

  it('end a run whose evaluation no longer improves', async () => {
    const data = writeRows(folder(), 'eval.jsonl', rows(13))
    const options = optionsOf({ evalData: data, evalEvery: 1, patience: 2, maxSteps: 9 })
    const run = await trainTiny(options, { disturb: negate })
    expect(run.result).toMatchObject({ steps: 3, stopped: false })
    expect(notices(run).at(-2)).toMatch(/2 evaluations were not better/)
  })

  it('T13 never hold a value that is not finite, nor does the result', async () => {
    const options = optionsOf({ saveEvery: 2, maxSteps: 8 })
    const model = new TinyModel()
    const run = trainWith(model, options)
    const read = async () => {
      for await (const event of run) {
        if (event.type !== 'step' || event.step !== 3) continue
        const [values] = model.values()
        values![5] = Number.POSITIVE_INFINITY
        model.parameters[0]!.assign(values!)
        await expectRejection(run.save(), 'non-finite', /model\.layers\.0\.self_attn\.q_proj.*not finite/)
      }
    }
    await expectRejection(read(), 'non-finite', /step 4: the loss is (NaN|Infinity).*step-000002/)
    expect(readdirSync(join(options.output, 'checkpoints'))).toEqual(['step-000002'])
    expect(readdirSync(options.output).sort()).toEqual(['checkpoints', 'metrics.jsonl', 'run.yaml'])
  })
})

describe('the trained adapter', () => {
  it('T23 starts from the seed alone', async () => {
    const begin = async (seed: number, scheduler: 'cosine' | 'constant') => {
      const { output: _, ...options } = optionsOf({ seed, scheduler, maxSteps: 1, learningRate: 1e-6 })
      const { model } = await trainTiny(options)
      return model.values().map((values) => [...values])
    }
    const first = await begin(3, 'cosine')
    expect(await begin(3, 'constant')).toEqual(first)
    expect(await begin(4, 'cosine')).not.toEqual(first)
  })

  it('is the active one where the model has one', async () => {
    const model = new TinyModel()
    model.addAdapter('mine', mora({ rank: 4 }), { seed: 1 })
    const options = optionsOf({ rank: 4 })
    await trainWith(model, options).finished
    expect([...model.adapterSet.configs.keys()]).toEqual(['mine'])
    expect(existsSync(join(options.output, 'adapter_model.safetensors'))).toBe(true)
  })

  it('refuses options of a different adapter', async () => {
    const cases: [Partial<TrainInput>, RegExp][] = [
      [{ rank: 8 }, /rank is 8.*active adapter mine has 4/],
      [{ method: 'lora' }, /method is lora.*has mora/],
      [{ operator: 'sharing' }, /operator is sharing.*has rotation/],
      [{ targetModules: ['q_proj'] }, /targetModules is \["q_proj"\].*has all-linear/],
      [{ adapter: 'elsewhere' }, /option adapter is refused/],
    ]
    for (const [change, message] of cases) {
      const model = new TinyModel()
      model.addAdapter('mine', mora({ rank: 4 }), { seed: 1 })
      await expectRejection(trainWith(model, optionsOf(change)).finished, 'unfit-options', message)
    }
  })

  it('keeps the device, dtype and threads that it was loaded with', async () => {
    const cases: [Partial<TrainInput>, RegExp][] = [
      [{ device: 'cuda:1' }, /device is cuda:1.*loaded with cpu/],
      [{ dtype: 'bfloat16' }, /dtype is bfloat16.*loaded with float32/],
      [{ threads: 3 }, /threads is 3.*loaded with 1/],
    ]
    for (const [change, message] of cases) {
      await expectRejection(trainWith(new TinyModel(), optionsOf(change)).finished, 'unfit-options', message)
    }
  })

  it('has the default learning rate of its method', async () => {
    const rateOf = async (options: Partial<TrainInput>, adapter?: 'lora') => {
      const model = new TinyModel()
      if (adapter) model.addAdapter('mine', lora(), { seed: 1 })
      const { output: _, ...base } = optionsOf({ ...options, maxSteps: 1 })
      const events = []
      for await (const event of trainWith(model, base)) events.push(event)
      return steps({ events })[0]!.learningRate
    }
    expect(await rateOf({})).toBe(3e-4)
    expect(await rateOf({ operator: 'sharing' })).toBe(5e-5)
    expect(await rateOf({ method: 'lora' })).toBe(2e-4)
    expect(await rateOf({}, 'lora')).toBe(2e-4)
    expect(await rateOf({ method: 'full' })).toBe(2e-5)
  })
})
