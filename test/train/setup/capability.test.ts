import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { ForwardPasses } from '../../../lib/models/network/forward-passes.js'
import { NativeError } from '../../../lib/native/binary.js'
import type { TrainInput } from '../../../lib/options/index.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { TinyModel } from '../tiny-model.js'
import { notices, rows, steps, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

const optionsOf = (): TrainInput & { output: string } => ({
  data: writeRows(folder(), 'train.jsonl', rows(6)),
  output: join(folder(), 'out'),
  batchSize: 4,
  maxSteps: 2,
})

const headTooLarge = ['unsupported', 'attention failed: a head size of 999 is more than the kernels take.'] as const

/** Makes every forward pass fail as a device does. */
const failing = (...[code, message]: readonly [string, string]) =>
  vi.spyOn(ForwardPasses.prototype, 'lossAsync').mockRejectedValue(new NativeError(code, message))

describe('T30 before the first step', () => {
  it('a device that cannot compute the model is reported, and an earlier run is still there', async () => {
    const options = optionsOf()
    await trainTiny(options)
    const before = readFileSync(join(options.output, 'run.yaml'), 'utf8')
    let reported = 0
    using _ = failing(...headTooLarge)
    const refused = trainTiny({ ...options, overwrite: true }, {}, () => {
      reported++
    })
    await expectRejection(
      refused,
      'unsupported',
      /^The model cannot be trained on cpu in float32: attention failed: a head size of 999 .*; use another device\.$/,
    )
    expect(reported).toBe(0)
    expect(readFileSync(join(options.output, 'run.yaml'), 'utf8')).toBe(before)
    expect(readdirSync(join(options.output, 'checkpoints'))).toEqual(['step-000002'])
  })

  it('nothing is left if there was no run', async () => {
    using _ = failing(...headTooLarge)
    await expectRejection(trainTiny(optionsOf()), 'unsupported', /head size/)
    expect(readdirSync(folder())).toEqual(['train.jsonl'])
  })

  it('products in 8 bits are refused if the device lacks them', async () => {
    await expectRejection(
      trainTiny({ ...optionsOf(), compute: 'int8' }, { machine: { name: 'A1', int8Products: false } }),
      'unfit-options',
      /^The option compute is int8, but cpu \(A1\) has no products in 8 bits: .* leave the option out\.$/,
    )
    expect(readdirSync(folder())).toEqual(['train.jsonl'])
  })

  it('other errors are unchanged', async () => {
    const refused = async (code: string, message: string) => {
      using _ = failing(code, message)
      await expect(trainTiny(optionsOf())).rejects.toMatchObject({ code, message })
    }
    await refused('out-of-memory', 'Out of memory on cpu: 1 MiB were asked for.')
    await refused('operation-failed', 'attention failed: what came is not supported.')
  })

  it('the check leaves no trace in what is trained', async () => {
    const { model, ...run } = await trainTiny(optionsOf())
    expect(steps(run)).toHaveLength(2)
    expect(model.parameters.every(({ grad }) => grad === null)).toBe(true)
  })

  it('weights that are computed in a form other than stored are reported', async () => {
    const told = async (format: string | undefined) => {
      const model = new TinyModel()
      if (format) model.base = { ...model.base, identity: () => ({ hash: '', format }) }
      const run = await trainTiny({ ...optionsOf(), overwrite: true }, { model })
      return notices(run).filter((notice) => notice.includes('stored as'))
    }
    expect(await told('q4_1')).toEqual([
      "The model's weights are stored as q4_1; training computes with them in float32.",
    ])
    for (const format of ['float32', 'bfloat16', undefined]) expect(await told(format)).toEqual([])
  })
})
