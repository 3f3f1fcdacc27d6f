import {
  appendFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { kebabCase } from '../../../lib/common/option-names.js'
import type { TrainInput } from '../../../lib/options/index.js'
import { writeManifest } from '../../../lib/train/checkpoints/checkpoint-files.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { notices, type Outcome, rows, steps, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

const metricsOf = (output: string) =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss?: number; evalLoss?: number })

const bits = ({ model }: Outcome) => model.values().map((values) => Buffer.from(values.buffer).toString('hex'))
const course = (outcome: Outcome) => steps(outcome).map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }))

function optionsOf(output: string): TrainInput {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, evalData: data, evalEvery: 3, output, batchSize: 4, maxSteps: 10, dropout: 0.2, warmupSteps: 2 }
}

/** Stops a run of ten steps after five. */
const stopAfterFive = (options: TrainInput) =>
  trainTiny(options, {}, (event, run) => {
    if (event.type === 'step' && event.step === 5) void run.stop()
  })

describe('a resumed run', () => {
  it('T21 is the same bit for bit: ten steps equal five, a resume, and five', async () => {
    const whole = await trainTiny(optionsOf(join(folder(), 'whole')))
    const output = join(folder(), 'halves')
    const first = await stopAfterFive(optionsOf(output))
    expect(first.result).toMatchObject({ steps: 5, stopped: true })
    const second = await trainTiny({ ...optionsOf(output), resume: true })
    expect(second.result).toMatchObject({ steps: 10, stopped: false, evalLoss: whole.result.evalLoss })
    expect(bits(second)).toEqual(bits(whole))
    expect([...course(first), ...course(second)]).toEqual(course(whole))
    const plain = (path: string) => metricsOf(path).map(({ step, loss, evalLoss }) => ({ step, loss, evalLoss }))
    expect(plain(output)).toEqual(plain(join(folder(), 'whole')))
    const final = (path: string) => readFileSync(join(path, 'adapter_model.safetensors')).toString('hex')
    expect(final(output)).toBe(final(join(folder(), 'whole')))
  })

  it('T21 cuts metrics of lost steps off', async () => {
    const output = join(folder(), 'out')
    const options = { ...optionsOf(output), saveEvery: 4 }
    await trainTiny(options)
    renameSync(join(output, 'checkpoints', 'step-000010'), join(output, 'checkpoints', '.step-000010.1-abcd.tmp'))
    appendFileSync(join(output, 'metrics.jsonl'), '{"step": 11, "lo')
    await trainTiny({ ...options, resume: true })
    expect(metricsOf(output).flatMap(({ step, loss }) => (loss === undefined ? [] : [step]))).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    ])
    expect(readdirSync(join(output, 'checkpoints')).sort()).toEqual(['step-000004', 'step-000008', 'step-000010'])
  })

  it('T20 skips a torn checkpoint with a notice, and takes the newest intact one', async () => {
    const output = join(folder(), 'out')
    const options = { ...optionsOf(output), saveEvery: 2 }
    const whole = await trainTiny(options)
    const torn = join(output, 'checkpoints', 'step-000010')
    truncateSync(join(torn, 'optimizer.safetensors'), 100)
    rmSync(join(output, 'checkpoints', 'step-000008', 'manifest.json'))
    const changed = join(output, 'checkpoints', 'step-000006', 'weights.safetensors')
    const bytes = readFileSync(changed)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(changed, bytes)
    const resumed = await trainTiny({ ...options, resume: true })
    expect(notices(resumed).filter((notice) => notice.includes('skipped')).length).toBe(3)
    expect(steps(resumed)[0]!.step).toBe(5)
    expect(bits(resumed)).toEqual(bits(whole))
  })

  it.each<[string, (record: Record<string, object>) => void, RegExp]>([
    [
      'no facts',
      (record) => Object.assign(record, { facts: null }),
      /state\.json is malformed: facts: expected object/,
    ],
    ['a wrong step', (record) => Object.assign(record.state!, { step: 'two' }), /state\.json.*state\.step: expected/],
    [
      'no counts',
      (record) => Object.assign(record, { updates: {} }),
      /step-000005: AdamW: expected a count of updates for/,
    ],
  ])('names the file of a checkpoint with %s', async (_, change, message) => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const checkpoint = join(output, 'checkpoints', 'step-000005')
    const state = join(checkpoint, 'state.json')
    const record = JSON.parse(readFileSync(state, 'utf8'))
    change(record)
    writeFileSync(state, JSON.stringify(record))
    await writeManifest(checkpoint, 5)
    await expect(trainTiny({ ...optionsOf(output), resume: true })).rejects.toThrow(message)
  })

  it.each(['../../run.yaml', '/dev/zero'])(
    'reads no file outside of a checkpoint, whatever its manifest lists: %s',
    async (name) => {
      const output = join(folder(), 'out')
      await stopAfterFive(optionsOf(output))
      const manifest = join(output, 'checkpoints', 'step-000005', 'manifest.json')
      const listed = JSON.parse(readFileSync(manifest, 'utf8'))
      const files = { ...listed.files, [name]: { bytes: 0, sha256: '' } }
      writeFileSync(manifest, JSON.stringify({ ...listed, files }))
      const resumed = await trainTiny({ ...optionsOf(output), resume: true, maxSteps: 1 })
      expect(notices(resumed)).toContainEqual(
        expect.stringMatching(/manifest\.json lists .*which is not in the folder/),
      )
    },
  )

  it('T22 refuses to go on with other trained tensors', async () => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const resumed = trainTiny({ ...optionsOf(output), resume: true, allowChanges: ['all'] }, { layers: 2 })
    await expectRejection(resumed, 'changed-run', /800 values in 2 tensors.*1600 in 4/)
  })

  it.each<[string, Partial<TrainInput>, RegExp]>([
    ['learningRate', { learningRate: 0.01 }, /learningRate 0\.05.*0\.01/],
    ['batchSize', { batchSize: 2 }, /batchSize 4.*2/],
    ['seed', { seed: 8 }, /seed 7.*8/],
    ['dropout', { dropout: 0.5 }, /dropout 0\.2.*0\.5/],
    ['maxSteps', { maxSteps: 12 }, /maxSteps 10.*12/],
  ])('refuses a changed %s by name, unless allowed', async (name, change, message) => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const options = { ...optionsOf(output), ...change, resume: true }
    await expectRejection(trainTiny(options), 'changed-run', message)
    const told = await trainTiny({ ...options, allowChanges: [kebabCase(name)] })
    expect(notices(told).some((notice) => notice.startsWith(`${name} is`))).toBe(true)
  })

  it('T21 is the same bit for bit with rows from memory, and refuses others', async () => {
    const { data: _, evalData: __, ...others } = optionsOf(join(folder(), 'memory'))
    const stream = async function* (count: number) {
      yield* rows(count)
    }
    const ofFile = await trainTiny({ ...optionsOf(join(folder(), 'file')), evalData: undefined, evalEvery: undefined })
    const options = { ...others, evalEvery: undefined }
    const whole = await trainTiny({ ...options, data: rows(13), output: join(folder(), 'whole') })
    expect(course(whole)).toEqual(course(ofFile))
    await stopAfterFive({ ...options, data: stream(13) })
    const facts = parse(readFileSync(join(options.output!, 'run.yaml'), 'utf8')) as { options: { data: unknown } }
    expect(facts.options.data).toEqual([{ rows: 13, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }])
    await expectRejection(trainTiny({ ...options, data: stream(12), resume: true }), 'changed-run', /had data with/)
    const second = await trainTiny({ ...options, data: new Set(rows(13)), resume: true })
    expect(bits(second)).toEqual(bits(whole))
    const card = readFileSync(join(options.output!, 'README.md'), 'utf8')
    expect(card).toMatch(/\| Data \| 13 rows from memory \(sha256 [0-9a-f]{16}\) \|/)
  })

  it('T21 is the same bit for bit with a mixture, and refuses other weights', async () => {
    const mixture = (weight: number) => [
      { path: writeRows(folder(), 'first.jsonl', rows(9)), weight },
      { rows: rows(5, { first: 20 }), weight: 1 },
    ]
    const { evalData: _, ...others } = optionsOf(join(folder(), 'halves'))
    const options = { ...others, evalEvery: undefined, data: mixture(3) }
    const whole = await trainTiny({ ...options, output: join(folder(), 'whole') })
    await stopAfterFive(options)
    await expectRejection(trainTiny({ ...options, data: mixture(2), resume: true }), 'changed-run', /had data with/)
    const second = await trainTiny({ ...options, resume: true })
    expect(bits(second)).toEqual(bits(whole))
    const facts = parse(readFileSync(join(options.output!, 'run.yaml'), 'utf8')) as { options: { data: unknown } }
    expect(facts.options.data).toMatchObject([
      { path: mixture(3)[0]!.path, weight: 3 },
      { rows: 5, weight: 1 },
    ])
  })

  it('refuses changed rows, and another number of threads', async () => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const data = writeRows(folder(), 'other.jsonl', rows(12))
    await expectRejection(
      trainTiny({ ...optionsOf(output), data, resume: true }),
      'changed-run',
      /had data with sha256/,
    )
    const threads = trainTiny({ ...optionsOf(output), resume: true }, { threads: 2 })
    await expectRejection(threads, 'changed-run', /threads 1.*2/)
    await trainTiny({ ...optionsOf(output), resume: true, allowChanges: ['threads'] }, { threads: 2 })
  })

  it('says that bits differ on another processor and with other micro-batches; a deterministic run is refused', async () => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const resumed = { ...optionsOf(output), resume: true as const }
    const [deterministic, other] = [{ ...resumed, deterministic: true }, { machine: { name: 'B2' } }]
    await expectRejection(trainTiny(deterministic, other), 'changed-run', /processor .*B2 .*deterministic/)
    await expectRejection(trainTiny({ ...deterministic, microBatchSize: 1 }), 'changed-run', /microBatchSize .*bits/)
    await expectRejection(
      trainTiny({ ...deterministic, allowChanges: ['all'] }),
      'unfit-options',
      /deterministic does not go with allowChanges/,
    )
    const told = await trainTiny({ ...resumed, microBatchSize: 1 }, other)
    expect(notices(told).filter((notice) => notice.includes('not bit for bit')).length).toBe(2)
  })

  it('is deterministic if nothing has changed', async () => {
    const whole = await trainTiny(optionsOf(join(folder(), 'whole')))
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    expect(bits(await trainTiny({ ...optionsOf(output), resume: true, deterministic: true }))).toEqual(bits(whole))
  })

  it('may save, evaluate and report differently than before, and move its data', async () => {
    const output = join(folder(), 'out')
    await stopAfterFive(optionsOf(output))
    const moved = join(folder(), 'moved.jsonl')
    cpSync(join(folder(), 'train.jsonl'), moved)
    const options = {
      ...optionsOf(output),
      data: moved,
      saveEvery: 1,
      evalEvery: 1,
      keepCheckpoints: 2,
    }
    const { result } = await trainTiny({ ...options, resume: true })
    expect(result.steps).toBe(10)
    expect(readdirSync(join(output, 'checkpoints')).sort()).toEqual(['step-000009', 'step-000010'])
  })

  it('may run longer if the schedule does not depend on the length', async () => {
    const constant = (name: string) => ({ ...optionsOf(join(folder(), name)), scheduler: 'constant' as const })
    const whole = await trainTiny(constant('whole'))
    await trainTiny({ ...constant('longer'), maxSteps: 5 })
    const longer = await trainTiny({ ...constant('longer'), resume: true })
    expect(bits(longer)).toEqual(bits(whole))
  })

  it('starts at step 0 with a notice when there is nothing to resume from', async () => {
    const output = join(folder(), 'out')
    const run = await trainTiny({ ...optionsOf(output), resume: true })
    expect(notices(run).some((notice) => /no checkpoint.*starts at step 0/.test(notice))).toBe(true)
    expect(steps(run).length).toBe(10)
    rmSync(join(output, 'checkpoints'), { recursive: true })
    const again = await trainTiny({ ...optionsOf(output), resume: true })
    expect(metricsOf(output).filter(({ loss }) => loss !== undefined).length).toBe(10)
    expect(bits(again)).toEqual(bits(run))
  })

  it('starts from a named checkpoint, and drops the later ones', async () => {
    const output = join(folder(), 'out')
    const options = { ...optionsOf(output), saveEvery: 2 }
    const whole = await trainTiny(options)
    const resumed = await trainTiny({
      ...options,
      saveEvery: undefined,
      resume: join(output, 'checkpoints/step-000004'),
    })
    expect(steps(resumed)[0]!.step).toBe(5)
    expect(bits(resumed)).toEqual(bits(whole))
    expect(existsSync(join(output, 'checkpoints/step-000008'))).toBe(false)
  })

  it('finishes the removals of a run that was killed', async () => {
    const options = { ...optionsOf(join(folder(), 'out')), saveEvery: 2, keepCheckpoints: 2 }
    await trainTiny(options)
    const checkpoints = join(folder(), 'out', 'checkpoints')
    const saved = readdirSync(checkpoints).sort()
    expect(saved).toEqual(['step-000008', 'step-000010'])
    for (const name of ['step-000006', 'step-000007'])
      cpSync(join(checkpoints, saved[0]!), join(checkpoints, name), { recursive: true })
    writeFileSync(join(checkpoints, 'step-000007', 'by-time'), '')
    await trainTiny({ ...options, resume: true })
    expect(readdirSync(checkpoints).sort()).toEqual(saved)
  })

  it('has nothing left to do after its last step', async () => {
    const output = join(folder(), 'out')
    const whole = await trainTiny(optionsOf(output))
    const again = await trainTiny({ ...optionsOf(output), resume: true })
    expect(steps(again).length).toBe(0)
    expect(again.result).toMatchObject({ steps: 10, loss: whole.result.loss, evalLoss: whole.result.evalLoss })
  })
})
