/** Ranks without the checkpoint of a run get it from the one that writes, and resume to the same bits. */
import { createHash } from 'node:crypto'
import { appendFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { processTag } from '../../../lib/io/process-identity.js'
import type { TrainEvent } from '../../../lib/train/events.js'
import { RankSync } from '../../../lib/train/rank-sync.js'
import type { Run } from '../../../lib/train/run.js'
import type { TrainOptions } from '../../../lib/train/train.js'
import { TinyModel } from '../tiny-model.js'
import {
  at,
  bitsOf,
  lossesOf,
  messageOf,
  noticesOf,
  type Outcome,
  optionsOf,
  type Part,
  stepsOf,
  trainOn,
} from './ranks-run.js'

const checkpoint = 'checkpoints/step-000003'

/** As on machines with separate disks: the outputs of all but the first rank are in other folders, where nobody writes. */
const apart = (size: number, changes: (output: string) => Partial<TrainOptions> = () => ({})): Record<number, Part> =>
  Object.fromEntries(
    Array.from({ length: size - 1 }, (_, i): [number, Part] => {
      const output = at(`rank-${i + 1}`)
      return [i + 1, { options: { output, ...changes(output) } }]
    }),
  )

/** Three steps, after which there is a checkpoint where the first rank writes. */
const begun = (size: number, options = optionsOf()) =>
  trainOn(size, options, {
    ...apart(size),
    0: { onEvent: (event: TrainEvent, run: Run) => void (event.type === 'step' && event.step === 3 && run.stop()) },
  })

const mergedOf = ({ model }: Outcome) => model.weights()

const handed = vi.spyOn(RankSync.prototype, 'broadcast')
/** Bytes that were sent to ranks. */
const lengths = async () => Promise.all(handed.mock.results.map(async ({ value }) => (await value).length as number))

beforeEach(() => {
  handed.mockClear()
  vi.stubEnv('TMPDIR', at('tmp'))
  mkdirSync(at('tmp'))
  return () => vi.unstubAllEnvs()
})

/** Checks that all took the other three steps as if never interrupted, and that nothing is left. */
async function expectGoneOn(resumed: readonly Outcome[], whole: readonly Outcome[]): Promise<void> {
  expect(resumed.map(messageOf)).toEqual(resumed.map(() => undefined))
  expect(resumed.map(stepsOf)).toEqual(resumed.map(() => [4, 5, 6]))
  expect(resumed.map(bitsOf)).toEqual(resumed.map(() => bitsOf(whole[0]!)))
  expect(resumed.map(mergedOf)).toEqual(resumed.map(() => mergedOf(whole[0]!)))
  expect(readdirSync(at('tmp'))).toEqual([])
}

describe('where only the first rank has a checkpoint,', () => {
  it.each([2, 3])('%i ranks resume as if never interrupted', async (size) => {
    const whole = await trainOn(size, optionsOf({ output: at('whole') }))
    await begun(size)
    // A process was killed while it had some.
    mkdirSync(at(`tmp/.mora-checkpoint.99999999-${processTag()}01234567.tmp/checkpoints`), { recursive: true })
    const resumed = await trainOn(size, optionsOf({ resume: true }), apart(size))
    await expectGoneOn(resumed, whole)
    expect(resumed.map(({ result }) => result!.output)).toEqual([at('out'), null, null].slice(0, size))
    expect(readdirSync(at('.')).sort()).toEqual(['out', 'tmp', 'train.jsonl', 'whole'])
    expect(noticesOf(resumed[0]!)).toContain(`The run continues from step 3 (${at(`out/${checkpoint}`)}).`)
  })

  it.each([
    [1, 4],
    [3, 2],
  ])('a run of %i resumes with %i', async (before, after) => {
    const [whole] = await trainOn(before, optionsOf({ output: at('whole') }))
    await begun(before)
    const resumed = await trainOn(after, optionsOf({ resume: true }), apart(after))
    expect(resumed.map(stepsOf)).toEqual(resumed.map(() => [4, 5, 6]))
    expect(resumed.map(bitsOf)).toEqual(resumed.map(() => bitsOf(resumed[0]!)))
    for (const [i, loss] of lossesOf(resumed[0]!).entries()) {
      expect(Math.abs(loss / lossesOf(whole!)[3 + i]! - 1)).toBeLessThan(1e-6)
    }
  })

  it.each<[string, (output: string) => Partial<TrainOptions>]>([
    ['where the others are not told to go on', () => ({ resume: false })],
    ['where each is told of a checkpoint', (output) => ({ resume: join(output, checkpoint) })],
    ['where the others have no output', () => ({ resume: false, output: undefined })],
  ])('it decides %s', async (_, changes) => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    await begun(2)
    const resume = changes(at('out')).resume || true
    await expectGoneOn(await trainOn(2, optionsOf({ resume }), apart(2, changes)), whole)
  })

  it('and it does not resume, none does', async () => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    await begun(2)
    cpSync(at('out'), at('rank-1'), { recursive: true })
    const again = await trainOn(
      2,
      optionsOf({ overwrite: true }),
      apart(2, () => ({ overwrite: false, resume: true })),
    )
    expect(again.map(stepsOf)).toEqual(whole.map(stepsOf))
    expect(again.map(bitsOf)).toEqual(whole.map(bitsOf))
  })

  it('adapters that were merged before are sent too', async () => {
    const options = optionsOf({ mergeEvery: 1 })
    const whole = await trainOn(3, { ...options, output: at('whole') })
    await begun(3, options)
    await expectGoneOn(await trainOn(3, { ...options, resume: true }, apart(3)), whole)
    expect(mergedOf(whole[0]!)).not.toEqual(new TinyModel().weights())
    expect(readdirSync(at('out/merges'))).toEqual(readdirSync(at('whole/merges')))
  })

  it('large files are sent in pieces', async () => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    await begun(2)
    // The hash is compared once the file has arrived.
    const bytes = Buffer.from(Uint32Array.from({ length: 2_500_001 }, (_, i) => i * i).buffer).subarray(1)
    const path = join(at('out'), checkpoint)
    const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'))
    manifest.files.large = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
    writeFileSync(join(path, 'large'), bytes)
    writeFileSync(join(path, 'manifest.json'), JSON.stringify(manifest))
    await expectGoneOn(await trainOn(2, optionsOf({ resume: true }), apart(2)), whole)
    const large = (await lengths()).filter((length) => length > 2 ** 20)
    expect(Math.max(...large)).toBe(2 ** 22)
    expect(large.reduce((sum, length) => sum + length, 0)).toBe(2 * bytes.length)
  })
})

describe('a rank that has a checkpoint itself', () => {
  it('reads its own if it is the same, while others receive it', async () => {
    const whole = await trainOn(3, optionsOf({ output: at('whole') }))
    await begun(3)
    const parts = apart(3)
    cpSync(at('out'), at('rank-1'), { recursive: true })
    await expectGoneOn(await trainOn(3, optionsOf({ resume: true }), parts), whole)
  })

  it('receives nothing if all have it', async () => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    await begun(2)
    cpSync(at('out'), at('rank-1'), { recursive: true })
    handed.mockClear()
    await expectGoneOn(await trainOn(2, optionsOf({ resume: true }), apart(2)), whole)
    // Each rank gets the list of files.
    expect(await lengths()).toHaveLength(2)
  })

  it.each<[string, () => void]>([
    ['of another run', () => writeFileSync(at(`rank-1/${checkpoint}/manifest.json`), '{ "files": {} }')],
    [
      'that is newer',
      () => cpSync(at('whole/checkpoints/step-000006'), at('rank-1/checkpoints/step-000006'), { recursive: true }),
    ],
    ['that is torn', () => appendFileSync(at(`rank-1/${checkpoint}/weights.safetensors`), 'more')],
    ['without what was merged', () => rmSync(at('rank-1/merges/merge-0001'), { recursive: true })],
  ])('%s receives that of the first rank', async (_, change) => {
    const options = optionsOf({ mergeEvery: 2 })
    const whole = await trainOn(2, { ...options, output: at('whole') })
    await begun(2, options)
    cpSync(at('out'), at('rank-1'), { recursive: true })
    change()
    await expectGoneOn(await trainOn(2, { ...options, resume: true }, apart(2)), whole)
  })
})

describe('a file that cannot be read or written', () => {
  const ended = (all: readonly Outcome[]) =>
    all.map(({ error }) => [(error as Error).message, (error as { exitCode?: number }).exitCode])

  it.each<[string, string, RegExp]>([
    [
      'a checkpoint',
      `out/${checkpoint}/weights.safetensors`,
      /^The checkpoint .*step-000003 cannot be resumed from: weights\.safetensors has \d+ bytes instead of \d+\.$/,
    ],
    [
      'what was merged',
      'out/merges/merge-0001/adapter_config.json',
      /^The run cannot continue without the adapter that it merged in .*merge-0001: adapter_config\.json has/,
    ],
  ])('ends all with one sentence: %s of the first rank', async (_, file, message) => {
    const options = optionsOf({ mergeEvery: 2 })
    await begun(3, options)
    appendFileSync(at(file), 'more')
    const resume = at(`out/${checkpoint}`)
    const all = ended(await trainOn(3, { ...options, resume }, apart(3)))
    expect(all[0]).toEqual([expect.stringMatching(message), 1])
    const told = [`Rank 0 failed: ${all[0]![0]}`, 1]
    expect(all.slice(1)).toEqual([told, told])
    expect(readdirSync(at('tmp'))).toEqual([])
  })

  it('ends all with one sentence: a disk of another rank', async () => {
    await begun(2)
    vi.stubEnv('TMPDIR', at('train.jsonl'))
    const [first, second] = ended(await trainOn(2, optionsOf({ resume: true }), apart(2)))
    expect(second).toEqual([expect.stringMatching(/mora-checkpoint\..* could not be written: /), 1])
    expect(first).toEqual([`Rank 1 failed: ${second![0]}`, 1])
  })

  it('is skipped by all if an older one is intact', async () => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    await begun(2, optionsOf({ saveEvery: 1 }))
    appendFileSync(at(`out/${checkpoint}/weights.safetensors`), 'more')
    const resumed = await trainOn(2, optionsOf({ resume: true }), apart(2))
    expect(resumed.map(stepsOf)).toEqual([
      [3, 4, 5, 6],
      [3, 4, 5, 6],
    ])
    expect(resumed.map(bitsOf)).toEqual(whole.map(bitsOf))
  })
})
