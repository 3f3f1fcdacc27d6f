/** Several ranks leave one run on disk, and any number of ranks resumes it. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { openDevice } from '../../../lib/tensor/device.js'
import { Parameter } from '../../../lib/tensor/parameter.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import type { TrainEvent } from '../../../lib/train/events.js'
import { RankSync } from '../../../lib/train/rank-sync.js'
import type { Run } from '../../../lib/train/run.js'
import type { RunFacts } from '../../../lib/train/run-facts.js'
import { factsToCompare } from '../../../lib/train/setup/same-on-ranks.js'
import type { TrainOptions } from '../../../lib/train/train.js'
import { readTensors } from '../../golden/files.js'
import { localRanks } from '../local-ranks.js'
import { TinyModel } from '../tiny-model.js'
import { rows, writeRows } from '../tiny-run.js'
import {
  at,
  bitsOf,
  checkpoints,
  evaluatedOf,
  evaluating,
  isStep,
  lossesOf,
  messageOf,
  noticesOf,
  type Outcome,
  optionsOf,
  savedOf,
  stepsOf,
  trainOn,
} from './ranks-run.js'

const stopAfter = (step: number) => ({
  onEvent: (event: TrainEvent, run: Run) => {
    if (isStep(event, step)) void run.stop()
  },
})
const valuesOf = ({ model }: Outcome) => model.values().flatMap((values) => [...values])
const apart = (one: readonly number[], other: readonly number[]) =>
  Math.max(...one.map((value, i) => Math.abs(value - other[i]!)))

describe('a run of some ranks', () => {
  it.each([
    [1, 3],
    [2, 1],
    [3, 2],
    [4, 4],
  ])('that %i began resumes with %i', async (before, after) => {
    const [whole] = await trainOn(before, evaluating({ output: at('whole') }))
    await trainOn(before, evaluating(), { [before - 1]: stopAfter(3) })
    expect(parse(readFileSync(at('out/run.yaml'), 'utf8'))).toMatchObject({ machine: { ranks: before } })
    const resumed = await trainOn(after, evaluating({ resume: true }))
    expect(resumed.map(stepsOf)).toEqual(resumed.map(() => [4, 5, 6]))
    expect(apart(lossesOf(resumed[0]!), lossesOf(whole!).slice(3))).toBeLessThan(1e-6)
    expect(apart(valuesOf(resumed[0]!), valuesOf(whole!))).toBeLessThan(1e-6)
    expect(parse(readFileSync(at('out/run.yaml'), 'utf8'))).toMatchObject({ machine: { ranks: after } })
    const changed = `ranks is ${after} and was ${before} before: the run goes on, but not bit for bit as it would have.`
    expect(noticesOf(resumed[0]!).includes(changed)).toBe(before !== after)
    if (before === after) expect(resumed.map(bitsOf)).toEqual(resumed.map(() => bitsOf(whole!)))
  })

  it('that must be deterministic resumes with the same number only', async () => {
    const options = optionsOf({ deterministic: true })
    await trainOn(2, options, { 0: stopAfter(3) })
    const [refused] = await trainOn(1, { ...options, resume: true })
    expect(messageOf(refused!)).toMatch(/: The run to resume had ranks 2, but now it is 1/)
  })
})

describe('checkpoints of several ranks', () => {
  it('are there once any rank takes the next step', async () => {
    const missing: number[] = []
    const onEvent = (event: TrainEvent) => {
      if (event.type !== 'step' || event.step === 1) return
      const name = `step-${String(event.step - 1).padStart(6, '0')}`
      if (!existsSync(join(at('out'), 'checkpoints', name))) missing.push(event.step - 1)
    }
    const all = await trainOn(3, optionsOf({ saveEvery: 1 }), { 1: { onEvent }, 2: { onEvent } })
    expect(all.map(savedOf)).toEqual([[1, 2, 3, 4, 5, 6], [], []])
    expect(missing).toEqual([])
  })

  it('by time follow the clock of the rank that writes', async () => {
    let now = 0
    const onEvent = (event: TrainEvent) => {
      if (event.type === 'step') now += 60_000
    }
    const hasty = { now: () => Number.MAX_SAFE_INTEGER * Math.random() }
    const all = await trainOn(3, optionsOf({ saveMinutes: 3 }), { 0: { now: () => now, onEvent }, 1: hasty, 2: hasty })
    expect(all.map(savedOf)).toEqual([[3, 6], [], []])
    expect(checkpoints()).toEqual(['step-000006'])
  })

  it('keep the best, and patience ends all', async () => {
    const options = evaluating({ keepBest: true, keepCheckpoints: 1, patience: 1, learningRate: 0.5, maxSteps: 20 })
    const disturb = (gradient: Float32Array, step: number) => {
      if (step > 4) for (const [i, value] of gradient.entries()) gradient[i] = -value
    }
    const worsening = [0, 1, 2].map(() => ({ model: new TinyModel({ disturb }) }))
    const [alone] = await trainOn(1, { ...options, output: at('alone') }, [{ model: new TinyModel({ disturb }) }])
    const all = await trainOn(3, options, worsening)
    expect(stepsOf(alone!).length).toBeLessThan(20)
    expect(all.map(stepsOf)).toEqual(all.map(() => stepsOf(alone!)))
    expect(all.map(evaluatedOf)).toEqual(all.map(() => evaluatedOf(alone!)))
    expect(checkpoints()).toEqual(checkpoints(at('alone')))
    const { step } = alone!.result!.best!
    expect(step).toBeLessThan(alone!.result!.steps)
    const saved = readTensors(
      join(at('out'), 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'weights.safetensors'),
    )
    const best = [...saved.values()].map(({ values }) => values)
    expect(all.map(({ model }) => model.values())).toEqual(all.map(() => best))
    expect(all.map((one) => noticesOf(one).filter((notice) => /were not better/.test(notice)).length)).toEqual([
      1, 0, 0,
    ])
  })
})

describe('unlike ranks are refused before the first step:', () => {
  it.each<[string, () => Partial<TrainOptions>, RegExp]>([
    ['an option', () => ({ learningRate: 0.1 }), /^Rank 1 has learningRate 0\.1, but rank 0 has 0\.05: all ranks/],
    ['when they evaluate', () => ({ evalEvery: 3 }), /^Rank 1 has evalEvery 3, but rank 0 has 2:/],
    ['an option of one', () => ({ patience: 3 }), /^Rank 1 has patience 3, but rank 0 has not given:/],
    [
      'the data',
      () => ({ data: writeRows(at('.'), 'other.jsonl', rows(13, { first: 1 })) }),
      /^Rank 1 has data with sha256 [0-9a-f]{64}, but rank 0 has [0-9a-f]{64}:/,
    ],
    [
      'the evaluation data',
      () => ({ evalData: writeRows(at('.'), 'other.jsonl', rows(7)) }),
      /^Rank 1 has evaluation data with sha256/,
    ],
  ])('%s', async (_, changes, message) => {
    const all = await trainOn(3, evaluating(), { 1: { options: changes() } })
    expect(messageOf(all[0]!)).toMatch(message)
    expect(all.map(messageOf)).toEqual(all.map(() => messageOf(all[0]!)))
    expect(all.map(({ error }) => (error as { exitCode?: number }).exitCode)).toEqual([2, 2, 2])
    expect(all.map(stepsOf)).toEqual([[], [], []])
    expect(existsSync(at('out'))).toBe(false)
  })

  it('trained weights, and paths, which may differ', async () => {
    const model = new TinyModel()
    const addAdapter = model.addAdapter.bind(model)
    model.addAdapter = (name, config) => addAdapter(name, config, { seed: 8 })
    expect((await trainOn(2, optionsOf({ method: 'lora' }), { 1: { model } })).map(messageOf)).toEqual([
      expect.stringMatching(/^Rank 1 has trained weights with sha256/),
      expect.stringMatching(/^Rank 1 has trained weights with sha256/),
    ])
    const data = writeRows(at('.'), 'copy.jsonl', rows(13))
    const all = await trainOn(2, optionsOf(), { 1: { options: { data, output: at('not-used') } } })
    expect(all.map(messageOf)).toEqual([undefined, undefined])
  })

  it.each<[string, (facts: RunFacts) => RunFacts, RegExp]>([
    [
      'this package',
      (facts) => ({ ...facts, versions: { 'node-mora': '2' } }),
      /^Rank 1 has node-mora 2, but rank 0 has 1:/,
    ],
    [
      'a model',
      (facts) => ({ ...facts, hashes: { ...facts.hashes, model: 'b' } }),
      /^Rank 1 has a model with sha256 b,/,
    ],
    [
      'a dtype',
      (facts) => ({ ...facts, machine: { ...facts.machine, dtype: 'bfloat16' } }),
      /^Rank 1 has dtype bfloat16, but rank 0 has float32/,
    ],
  ])('%s', async (_, changed, message) => {
    const facts: RunFacts = {
      options: { rank: 8 },
      machine: { device: 'cpu', processor: 'A', threads: 1, dtype: 'float32', tokenBudget: 1, ranks: 2 },
      versions: { 'node-mora': '1' },
      hashes: { model: 'a', data: 'd', evalData: null },
      trainable: { tensors: 1, parameters: 1 },
    }
    using parameter = new Parameter(
      'a',
      Tensor.from(Float32Array.of(1), [1], { device: openDevice({ device: 'cpu' }) }),
    )
    const parameters = [parameter]
    const compare = (of: readonly RunFacts[]) =>
      Promise.all(
        localRanks(2).map((ranks, rank) =>
          new RankSync(ranks)
            .requireSame(() => factsToCompare(of[rank]!, parameters, {}))
            .then(
              () => 'the same',
              (error: Error) => error.message,
            ),
        ),
      )
    expect(await compare([facts, { ...facts, machine: { ...facts.machine, threads: 8, processor: 'B' } }])).toEqual([
      'the same',
      'the same',
    ])
    const [first, second] = await compare([facts, changed(facts)])
    expect(first).toMatch(message)
    expect(second).toBe(first)
  })
})
