/** `mora train` on several ranks of this process: one prints, and all end with the same code. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, it, vi } from 'vitest'
import type { CommandResult } from '../../lib/cli/command.js'
import { trainOn } from '../../lib/cli/commands/train.js'
import { initModel } from '../../lib/models/index.js'
import { ModelSource } from '../../lib/models/read/model-source.js'
import { TrainSchema, type TrainSettings } from '../../lib/options/index.js'
import { HostMemory } from '../../lib/tensor/host-memory.js'
import { type TrainOptions, train } from '../../lib/train/index.js'
import { RankSync } from '../../lib/train/rank-sync.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { type LocalRanks, localRanks } from '../train/local-ranks.js'
import { rows, writeRows } from '../train/tiny-run.js'
import { testTerminal } from './terminal.js'
import { CONFIG } from './tiny-config.js'

const folder = useTemporaryFolder()
const at = (name: string) => join(folder(), name)

beforeEach(() => {
  mkdirSync(at('tokenizer'))
  writeFileSync(at('config.json'), JSON.stringify(CONFIG))
  writeRows(folder(), 'rows.jsonl', rows(8))
})

const given = (changes: Partial<TrainSettings> = {}) => ({
  init: at('config.json'),
  model: at('tokenizer'),
  data: at('rows.jsonl'),
  output: at('out'),
  maxSteps: 4,
  batchSize: 4,
  dtype: 'float32' as const,
  device: 'cpu',
  ...changes,
})

/** Ranks that have closed, in order. */
let closed: number[] = []
beforeEach(() => {
  closed = []
})

async function saveModel(): Promise<void> {
  using model = await initModel(at('config.json'), { dtype: 'float32', device: 'cpu', seed: 42 })
  await model.save(at('model'))
  cpSync(at('tokenizer'), at('model'), { recursive: true })
}

interface Printed {
  result: CommandResult | null
  error: string | null
  stdout: string
  stderr: string
}

async function command(ranks: LocalRanks, changes: Partial<TrainSettings> = {}): Promise<Printed> {
  const terminal = testTerminal()
  const close = async () => {
    closed.push(ranks.rank)
    await ranks.barrier()
  }
  const log = (line: string) => terminal.stderr.write(line)
  const context = { terminal, log, note: log }
  return trainOn({ ...ranks, close, threads: 1 }, TrainSchema.parse(given(changes)), context).then(
    (result) => ({ result, error: null, ...terminal.written }),
    (error: Error) => ({ result: null, error: error.message, ...terminal.written }),
  )
}

it('one rank prints and writes', async () => {
  const [first, second] = await Promise.all(localRanks(2).map((ranks) => command(ranks, { profile: true })))
  expect(first!.result).toMatchObject({ json: { steps: 4, output: at('out') }, exitCode: 0 })
  expect(first!.stderr).toMatch(/step 4/)
  expect(closed.sort()).toEqual([0, 1])
  expect(second).toEqual({ result: { json: undefined, text: '', exitCode: 0 }, error: null, stdout: '', stderr: '' })
})

it('a failure of one rank is one sentence', async () => {
  const [ranks, other] = localRanks(2) as [LocalRanks, LocalRanks]
  const [first, second] = await Promise.all([command(ranks), command(other, { init: at('absent.json') })])
  expect(first!.error).toMatch(/^Rank 1 failed: .*absent\.json/)
  expect(second).toMatchObject({ result: { json: undefined, text: '' }, error: null, stderr: '' })
  expect(second!.result!.exitCode).toBeGreaterThan(0)
  expect(closed.sort()).toEqual([0, 1])
})

it('a model that one rank cannot load is one sentence', async () => {
  const [ranks, other] = localRanks(2, ['a', 'a']) as [LocalRanks, LocalRanks]
  await saveModel()
  const [first, second] = await Promise.all([
    command(ranks, { init: undefined, model: at('model') }),
    command(other, { init: undefined, model: at('absent') }),
  ])
  expect(first!.error).toMatch(/^Rank 1 failed: .*absent/)
  expect(second).toMatchObject({ result: { json: undefined, text: '' }, error: null, stderr: '' })
  expect(closed.sort()).toEqual([0, 1])
})

it('a part of a model that one rank cannot read is one sentence', async () => {
  const all = localRanks(2, ['a', 'a'])
  await saveModel()
  const read = vi.spyOn(ModelSource.prototype, 'loadInto').mockImplementation((name) => {
    if (name.includes('layers.0.')) throw new Error('The disk is gone.')
  })
  const [first, second] = await Promise.all(all.map((ranks) => command(ranks, { init: undefined, model: at('model') })))
  read.mockRestore()
  expect(first!.error).toBe('Rank 1 failed: The disk is gone.')
  expect(second).toMatchObject({ result: { json: undefined, text: '' }, error: null, stderr: '' })
  expect(closed.sort()).toEqual([0, 1])
})

it('a rank that shares its model and one that makes its own are distinguished', async () => {
  const [ranks, other] = localRanks(2, ['a', 'a']) as [LocalRanks, LocalRanks]
  await saveModel()
  const [first, second] = await Promise.all([
    command(ranks, { init: undefined, model: at('model') }),
    command(other, { init: undefined, model: at('model'), method: 'full' }),
  ])
  expect(first!.error).toMatch(/^Rank 1 has learningRate 0\.00002, but rank 0 has /)
  expect(second).toMatchObject({ result: { exitCode: 2 }, error: null, stderr: '' })
})

it.each([
  [1, 0],
  [0, 1],
])('the loss of rank %i is reported by rank %i alone', async (gone, speaker) => {
  const all = localRanks(3)
  const left = all.filter(({ rank }) => rank !== gone)
  const printed = Promise.all(left.map((ranks) => command(ranks)))
  all[gone]!.abort('it has ended.')
  const ended = await printed
  expect(closed).toEqual([])
  const errors = ended.map(({ error, stderr }, i) => [left[i]!.rank, error, stderr])
  expect(errors).toEqual(
    left.map(({ rank }) => [rank, rank === speaker ? `Rank ${gone} failed: it has ended.` : null, '']),
  )
})

it('different options are one sentence, and wrong usage on all', async () => {
  const [ranks, other] = localRanks(2) as [LocalRanks, LocalRanks]
  const [first, second] = await Promise.all([command(ranks), command(other, { seed: 1 })])
  expect(first!.error).toBe('Rank 1 has seed 1, but rank 0 has 42: all ranks of a run need the same.')
  expect(second).toMatchObject({ result: { exitCode: 2 }, error: null, stderr: '' })
})

it('a stop of another rank ends with 130 too', async () => {
  const [ranks, other] = localRanks(2) as [LocalRanks, LocalRanks]
  using model = await initModel(at('config.json'), { dtype: 'float32', device: 'cpu', seed: 42 })
  const call = { ...given({ maxSteps: 400 }), ranks: other } as TrainOptions
  const sync = new RankSync(other)
  // The command checks whether its ranks share a model.
  const gather = (bytes: Uint8Array) => sync.gather(bytes)
  const stopping = (async () => {
    await HostMemory.meet({ ...other, gather }, null)
    const run = train(model, call)
    for await (const event of run) if (event.type === 'step' && event.step === 2) void run.stop()
  })()
  const [first] = await Promise.all([command(ranks, { maxSteps: 400 }), stopping.then(() => other.barrier())])
  expect(first.result).toMatchObject({ json: { steps: 2 }, exitCode: 130 })
})
