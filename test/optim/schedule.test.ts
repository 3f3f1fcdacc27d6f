import { describe, expect, it } from 'vitest'
import { UsageError } from '../../lib/common/errors.js'
import { type ScheduleOptions, type Scheduler, schedule, warmupLength } from '../../lib/optim/schedule.js'
import { goldenJson } from '../golden/files.js'

interface Golden {
  runs: { name: string; options: ScheduleOptions; learningRates: number[] }[]
}
const golden = goldenJson<Golden>('schedules.json')

/** Our names of the schedules of transformers, and of the jagged cosine in the authors' code. */
const schedulers: Record<string, Scheduler> = {
  linear: 'linear',
  cosine: 'cosine',
  cosine_with_min_lr: 'cosine',
  constant_with_warmup: 'constant',
  'cosine-restarts': 'cosine-restarts',
}
const baselines = goldenJson<{
  schedules: {
    scheduler: string
    options: ScheduleOptions & { min_lr_rate?: number; maxSteps?: number }
    steps: number[]
    learningRates: number[]
  }[]
}>('baselines/schedules.json').schedules.filter(({ scheduler }) => Object.hasOwn(schedulers, scheduler))

describe('schedule', () => {
  it.each(golden.runs)('has the learning rates of the reference: $name', ({ options, learningRates }) => {
    const rate = schedule(options)
    for (const [step, expected] of learningRates.entries()) {
      expect(Math.abs(rate(step) - expected)).toBeLessThanOrEqual(1e-15)
    }
  })

  it.each(baselines)('has the rates of transformers and of the authors: $scheduler, $options', (golden) => {
    const { options, steps, learningRates } = golden
    const scheduler = schedulers[golden.scheduler]!
    const { min_lr_rate: minLearningRateRatio, maxSteps: totalSteps = options.totalSteps } = options
    const rate = schedule({ ...(minLearningRateRatio && { minLearningRateRatio }), ...options, scheduler, totalSteps })
    for (const [i, step] of steps.entries()) {
      const distance = Math.abs(rate(step) - learningRates[i]!)
      expect(distance, `step ${step}`).toBeLessThanOrEqual(1e-12 * options.learningRate)
    }
  })

  it('warms a constant rate up and then keeps it', () => {
    const rate = schedule({ learningRate: 0.4, scheduler: 'constant', totalSteps: 10, warmupSteps: 4 })
    expect([0, 1, 2, 3, 4, 9, 100].map(rate)).toEqual([0, 0.1, 0.2, 0.4 * 0.75, 0.4, 0.4, 0.4])
  })

  it('ends the cosine at the minimum ratio', () => {
    const rate = schedule({ learningRate: 1, scheduler: 'cosine', totalSteps: 10, minLearningRateRatio: 0.1 })
    expect(rate(0)).toBe(1)
    expect(rate(5)).toBeCloseTo(0.55, 12)
    expect(rate(10)).toBeCloseTo(0.1, 12)
    expect(rate(15)).toBeCloseTo(0.1, 12)
  })

  it('ends the linear decay at the minimum ratio', () => {
    const rate = schedule({ learningRate: 1, scheduler: 'linear', totalSteps: 10, minLearningRateRatio: 0.25 })
    expect([0, 5, 10, 12].map(rate)).toEqual([1, 0.625, 0.25, 0.25])
  })

  it('rounds a warm-up ratio up, and prefers warm-up steps', () => {
    expect(warmupLength({ learningRate: 1, totalSteps: 15, warmupRatio: 0.1 })).toBe(2)
    expect(warmupLength({ learningRate: 1, totalSteps: 15, warmupRatio: 0.1, warmupSteps: 7 })).toBe(7)
  })

  it('counts one step of warm-up, and a ratio only where there are no steps', () => {
    expect(warmupLength({ learningRate: 1, totalSteps: 10, warmupSteps: 1, warmupRatio: 0.5 })).toBe(1)
    expect(warmupLength({ learningRate: 1, totalSteps: 10 })).toBe(0)
  })

  it.each(['linear', 'cosine'] as const)(
    '%s decays in no step or in one after a warm-up of nearly all',
    (scheduler) => {
      const rate = (totalSteps: number) => schedule({ learningRate: 1, scheduler, totalSteps, warmupSteps: 4 })
      expect([3, 4, 5, 6].map(rate(5))).toEqual([0.75, 1, 0, 0])
      expect(rate(4)(3)).toBe(0.75)
      // Where nothing is left after the warm-up, the reference's line has come to its end and its cosine has not begun.
      expect(rate(4)(4)).toBe(scheduler === 'linear' ? 0 : 1)
      expect(rate(4)(5)).toBe(0)
      expect(schedule({ learningRate: 1, scheduler, totalSteps: 0 })(1)).toBe(0)
    },
  )

  it('pads a run to whole periods, and enters each after the first with 50 steps of warm-up', () => {
    const rate = schedule({ learningRate: 1, scheduler: 'cosine-restarts', totalSteps: 250, mergeEvery: 100 })
    // A cosine of the 300 steps to which 250 are padded.
    const cosine = (step: number) => 0.1 + 0.9 * 0.5 * (1 + Math.cos((Math.PI * step) / 300))
    for (const [step, expected] of [
      ...[0, 99, 150, 199, 250, 299].map((step) => [step, cosine(step)]),
      ...[1, 25, 49].flatMap((into) => [100, 200].map((start) => [start + into, (into / 50) * cosine(start + 50)])),
      [100, 0],
    ] as [number, number][])
      expect(rate(step), `step ${step}`).toBeCloseTo(expected, 14)
  })

  it('accepts periods of one step, and refuses shorter ones', () => {
    const restarts = { learningRate: 1, scheduler: 'cosine-restarts', totalSteps: 10, restartWarmupSteps: 0 } as const
    expect(schedule({ ...restarts, mergeEvery: 1 })(10)).toBeCloseTo(0.1, 12)
    expect(() => schedule({ ...restarts, mergeEvery: 0 })).toThrow(/at least 1 for mergeEvery/)
    expect(() => schedule({ ...restarts, mergeEvery: 5, restartWarmupSteps: -1 })).toThrow(/restartWarmupSteps/)
  })

  it('T4 does not depend on how often or in which order it is called', () => {
    const rate = schedule({ learningRate: 1, totalSteps: 20, warmupSteps: 3 })
    const forwards = Array.from({ length: 20 }, (_, step) => rate(step))
    const backwards = Array.from({ length: 20 }, (_, step) => rate(19 - step)).reverse()
    expect(backwards).toEqual(forwards)
  })

  it('ends restarts at a tenth of the peak unless told otherwise', () => {
    const restarts = {
      learningRate: 1,
      scheduler: 'cosine-restarts',
      totalSteps: 20,
      mergeEvery: 5,
      restartWarmupSteps: 0,
    } as const
    expect(schedule(restarts)(20)).toBeCloseTo(0.1, 12)
    expect(schedule({ ...restarts, minLearningRateRatio: 0 })(20)).toBeCloseTo(0, 12)
  })

  it('refuses restarts without a period, other schedulers, and numbers out of range', () => {
    expect(() => schedule({ learningRate: 1, scheduler: 'cosine-restarts', totalSteps: 10 })).toThrow(/needs a period/)
    expect(() => schedule({ learningRate: 1, scheduler: 'cosin' as never, totalSteps: 10 })).toThrow(UsageError)
    expect(() => schedule({ learningRate: Number.NaN, totalSteps: 10 })).toThrow(/learningRate/)
    expect(() => schedule({ learningRate: 1, totalSteps: 10, warmupSteps: -1 })).toThrow(/warmupSteps/)
  })
})
