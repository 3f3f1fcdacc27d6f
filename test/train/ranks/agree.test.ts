/** Ranks stop, wait and fail together. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { sft } from '../../../lib/objectives/cross-entropy.js'
import type { Objective } from '../../../lib/objectives/objective.js'
import type { Ranks } from '../../../lib/tensor/ranks.js'
import type { TrainEvent } from '../../../lib/train/events.js'
import { isKnownToAllRanks } from '../../../lib/train/rank-sync.js'
import type { Run } from '../../../lib/train/run.js'
import { trainWith } from '../../../lib/train/train.js'
import { localRanks } from '../local-ranks.js'
import { TinyModel } from '../tiny-model.js'
import {
  at,
  bitsOf,
  checkpoints,
  evaluatedOf,
  evaluating,
  isStep,
  lossesOf,
  messageOf,
  optionsOf,
  savedOf,
  stepsOf,
  trainOn,
} from './ranks-run.js'

/** A model that runs an action at one forward pass, the first of the run being 1. */
const disturbed = (pass: number, disturb: () => void) =>
  new TinyModel({ onPass: (passes) => void (passes === pass && disturb()) })

describe('a stop of one rank', () => {
  it.each([0, 2])('ends all after the same step, saved once, and resumes bit for bit: rank %i', async (rank) => {
    const whole = await trainOn(3, optionsOf({ output: at('whole') }))
    const onEvent = (event: TrainEvent, run: Run) => {
      if (isStep(event, 3)) void run.stop()
    }
    const all = await trainOn(3, optionsOf(), { [rank]: { onEvent } })
    expect(all.map(stepsOf)).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [1, 2, 3],
    ])
    expect(all.map(({ result }) => result)).toMatchObject([
      { steps: 3, stopped: true },
      { steps: 3, stopped: true },
      { steps: 3, stopped: true },
    ])
    expect(all.map(savedOf)).toEqual([[3], [], []])
    const resumed = await trainOn(3, optionsOf({ resume: true }))
    expect(resumed.map(bitsOf)).toEqual(whole.map(bitsOf))
    expect(resumed.map(lossesOf)).toEqual(whole.map((one) => lossesOf(one).slice(3)))
  })

  it('before a due evaluation leaves it to the resumed run', async () => {
    const options = evaluating()
    const onEvent = (event: TrainEvent, run: Run) => {
      if (isStep(event, 2)) void run.stop()
    }
    const all = await trainOn(2, options, { 1: { onEvent } })
    expect(all.map((one) => [stepsOf(one), evaluatedOf(one)])).toEqual([
      [[1, 2], []],
      [[1, 2], []],
    ])
    const resumed = await trainOn(2, { ...options, resume: true })
    expect(resumed.map(evaluatedOf)).toEqual([
      [2, 4, 6],
      [2, 4, 6],
    ])
  })

  it('reaches a paused rank once it continues, and those that wait for it meanwhile', async () => {
    const order: string[] = []
    const pausing = (event: TrainEvent, run: Run) => {
      if (!isStep(event, 2)) return
      run.pause()
      setTimeout(() => {
        order.push('resumed')
        run.resume()
      }, 60)
    }
    const stopping = (event: TrainEvent, run: Run) => {
      if (!isStep(event, 2)) return
      setTimeout(() => void run.stop().finally(() => order.push('ended')), 20)
    }
    const all = await trainOn(2, optionsOf(), { 0: { onEvent: pausing }, 1: { onEvent: stopping } })
    expect(all.map(stepsOf)).toEqual([
      [1, 2],
      [1, 2],
    ])
    expect(order).toEqual(['resumed', 'ended'])
  })
})

describe('a signal of one rank', () => {
  const REASON = new Error('enough')

  it('ends the step at work on all, without an update, and rejects there alone', async () => {
    const whole = await trainOn(2, optionsOf({ output: at('whole') }))
    const controller = new AbortController()
    // Rank 1 takes two rows a step: its sixth pass is the last of the third step, its fifth the one before.
    const model = disturbed(5, () => controller.abort(REASON))
    const all = await trainOn(2, optionsOf(), { 1: { model, options: { signal: controller.signal } } })
    expect(all.map(stepsOf)).toEqual([
      [1, 2],
      [1, 2],
    ])
    expect(all[1]!.error).toBe(REASON)
    expect(all[0]).toMatchObject({ error: null, result: { steps: 2, stopped: true } })
    for (const { model } of all) expect(model.parameters.some(({ grad }) => grad)).toBe(false)
    expect(checkpoints()).toEqual(['step-000002'])
    expect((await trainOn(2, optionsOf({ resume: true }))).map(bitsOf)).toEqual(whole.map(bitsOf))
  })

  it('ends an evaluation on all', async () => {
    const controller = new AbortController()
    const model = disturbed(5, () => controller.abort(REASON))
    const options = evaluating()
    const all = await trainOn(2, options, { 1: { model, options: { signal: controller.signal } } })
    expect(all.map((one) => [stepsOf(one), evaluatedOf(one)])).toEqual([
      [[1, 2], []],
      [[1, 2], []],
    ])
    expect(all[1]!.error).toBe(REASON)
    expect(all[0]!.error).toBeNull()
  })

  it('ends an evaluation of sampled answers on all', async () => {
    const controller = new AbortController()
    const { signal } = controller
    const objective: Objective = {
      name: 'answers',
      loss: sft().loss,
      async sample(rows, { draws, signal, sum }) {
        if (draws === 'evaluation') {
          if (signal) controller.abort(REASON)
          signal?.throwIfAborted()
          await sum([rows.length])
        }
        const rollouts = new Map(rows.map(({ row }) => [row, { advantage: 1 }]))
        return { rows, rollouts, metrics: {}, records: rows.map(() => ({})) }
      },
    }
    const all = await trainOn(2, { ...evaluating(), objective }, { 1: { options: { signal } } })
    expect(all.map((one) => [stepsOf(one), evaluatedOf(one)])).toEqual([
      [[1, 2], []],
      [[1, 2], []],
    ])
    expect(all.map(({ error }) => error)).toEqual([null, REASON])
  })

  it('whose reason a handler throws ends all after the step', async () => {
    const controller = new AbortController()
    const onEvent = (event: TrainEvent) => {
      if (!isStep(event, 2)) return
      controller.abort(REASON)
      throw REASON
    }
    const run = (ranks: Ranks, signal?: AbortSignal) =>
      trainWith(new TinyModel(), { ...optionsOf(), ranks, signal, onEvent: signal && onEvent }).finished
    const [first, second] = localRanks(2)
    const [writer, other] = await Promise.allSettled([run(first!), run(second!, controller.signal)])
    expect(writer).toMatchObject({ value: { steps: 2, stopped: true } })
    expect(other).toEqual({ status: 'rejected', reason: REASON })
  })
})

describe('a rank that fails', () => {
  const failure = () => new Error('The device is out of memory.')
  const failing = (pass: number, error = failure()) => {
    const fail = () => {
      throw error
    }
    return { model: disturbed(pass, fail) }
  }
  const saved = () => join(at('out'), 'checkpoints', 'step-000002')

  it('in a step ends all with its error, and saves the steps before', async () => {
    const whole = await trainOn(3, optionsOf({ output: at('whole') }))
    const own = failure()
    // Rank 1 takes two rows a step.
    const all = await trainOn(3, optionsOf(), { 1: failing(5, own) })
    expect(all[1]!.error).toBe(own)
    expect(all.map(messageOf)).toEqual([
      `Rank 1 failed: The device is out of memory; step 2 is saved in ${saved()}.`,
      'The device is out of memory.',
      'Rank 1 failed: The device is out of memory.',
    ])
    expect(all.map(({ error }) => (error as { code?: string }).code)).toEqual(['rank-failed', undefined, 'rank-failed'])
    for (const { error } of all) expect(isKnownToAllRanks(error)).toBe(true)
    expect(existsSync(join(at('out'), '.lock'))).toBe(false)
    expect((await trainOn(3, optionsOf({ resume: true }))).map(bitsOf)).toEqual(whole.map(bitsOf))
  })

  it('in an evaluation, or in the reader of its events, does the same', async () => {
    const inEvaluation = await trainOn(2, evaluating(), { 1: failing(5) })
    expect(inEvaluation.map(messageOf)[0]).toMatch(/^Rank 1 failed: The device is out of memory; step 2 is saved/)
    const onEvent = (event: TrainEvent) => {
      if (isStep(event, 2)) throw failure()
    }
    const run = (ranks: Ranks) => {
      const options = { ...optionsOf({ overwrite: true }), ranks, onEvent: ranks.rank === 1 ? onEvent : undefined }
      return trainWith(new TinyModel(), options).finished.catch((error: Error) => error.message)
    }
    expect(await Promise.all(localRanks(2).map(run))).toEqual([
      `Rank 1 failed: The device is out of memory; step 2 is saved in ${saved()}.`,
      'The device is out of memory.',
    ])
  })

  it('before the first step leaves no files', async () => {
    const all = await trainOn(2, optionsOf(), { 1: { options: { data: at('absent.jsonl') } } })
    expect(messageOf(all[0]!)).toMatch(/^Rank 1 failed: .*absent\.jsonl/)
    expect(messageOf(all[1]!)).toMatch(/absent\.jsonl/)
    expect(existsSync(at('out'))).toBe(false)
  })

  it('to write ends all, which wait until it has saved', async () => {
    const onEvent = (event: TrainEvent) => {
      if (!isStep(event, 2)) return
      mkdirSync(at('out'), { recursive: true })
      writeFileSync(join(at('out'), 'checkpoints'), 'in the way')
    }
    const all = await trainOn(2, optionsOf({ saveEvery: 2 }), { 0: { onEvent } })
    expect(messageOf(all[0]!)).toMatch(/checkpoints/)
    expect(messageOf(all[1]!)).toBe(`Rank 0 failed: ${messageOf(all[0]!)}`)
    expect(all.map(stepsOf)).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('to reach the others ends them, each with its own state', async () => {
    const own = failure()
    const [first, second] = localRanks(2)
    let calls = 0
    const broken: Ranks = {
      ...second!,
      sumGradients: (gradients) => (++calls < 3 ? second!.sumGradients(gradients) : Promise.reject(own)),
    }
    const run = (ranks: Ranks) =>
      trainWith(new TinyModel(), { ...optionsOf(), ranks }).finished.catch((error: unknown) => error)
    const [writer, other] = await Promise.all([run(first!), run(broken)])
    expect((writer as Error).message).toBe(`Rank 1 failed: The device is out of memory; step 2 is saved in ${saved()}.`)
    expect(other).toBe(own)
    expect([writer, other].map(isKnownToAllRanks)).toEqual([false, false])
  })

  it('together with another is reported by its number', async () => {
    const all = await trainOn(3, optionsOf(), { 1: failing(2), 2: failing(1, new Error('Late.')) })
    expect(all.map(messageOf)).toEqual([
      'Rank 1 failed: The device is out of memory.',
      'The device is out of memory.',
      'Late.',
    ])
  })
})
