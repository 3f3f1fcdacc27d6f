/** The tasks and the arithmetic of bench/paper. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel, lora, Tensor } from 'node-mora'
import { describe, expect, test } from 'vitest'
import { changeOfWeights, linearWeights } from '../../bench/paper/common/change-of-weights.mjs'
import { experiments } from '../../bench/paper/common/experiments.mjs'
import { Record } from '../../bench/paper/common/record.mjs'
import { deviation, mean, resultTable } from '../../bench/paper/common/report.mjs'
import { chatRows, choiceRows } from '../../bench/paper/tasks/instruct.mjs'
import { baseTexts, SKILLS } from '../../bench/paper/tasks/language.mjs'
import { mathRows } from '../../bench/paper/tasks/math.mjs'
import { take } from '../../bench/paper/tasks/take.mjs'

describe('tasks', () => {
  test('every step of a word problem is right, and the last one is the answer', () => {
    for (const { completion, answer } of mathRows(200, 7)) {
      const [steps, result] = completion.split(' #### ')
      const sums = [...steps.matchAll(/(\d+) ([+x-]) (\d+) = (\d+)\./g)]
      expect(sums).toHaveLength(2)
      for (const [, a, sign, b, c] of sums) {
        const value =
          sign === '+' ? Number(a) + Number(b) : sign === '-' ? Number(a) - Number(b) : Number(a) * Number(b)
        expect(value).toBe(Number(c))
      }
      expect(result).toBe(answer)
      expect(sums[1][4]).toBe(answer)
    }
  })

  test('a question has one right choice, at a random place', () => {
    const rows = choiceRows(300, 7)
    for (const { subject, question, choices, answer } of rows) {
      const { answer: right } = SKILLS[subject]
      const word = question.split(' ')[2]
      expect(choices.filter((choice) => choice === right(word))).toEqual([choices[answer]])
      expect(new Set(choices).size).toBe(4)
    }
    const places = [0, 1, 2, 3].map((place) => rows.filter(({ answer }) => answer === place).length)
    for (const count of places) expect(count).toBeGreaterThan(40)
  })

  test('rows are a function of the seed', () => {
    expect(chatRows(20, 1)).toEqual(chatRows(20, 1))
    expect(chatRows(20, 1)).not.toEqual(chatRows(20, 2))
    expect(take(baseTexts(3), 20)).toEqual(take(baseTexts(3), 20))
  })
})

describe('comparisons', () => {
  test('each experiment sweeps four learning rates or more at small and paper scale, and three seeds', async () => {
    for (const load of Object.values(experiments)) {
      const { scales } = await load()
      for (const scale of ['small', 'paper']) {
        expect(scales[scale].seeds.length).toBeGreaterThanOrEqual(3)
        for (const { name, learningRates } of scales[scale].contestants)
          expect(new Set(learningRates).size, name).toBeGreaterThanOrEqual(4)
      }
    }
  })

  test('a record keeps what was run, for the same settings only', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-paper-'))
    const path = join(folder, 'memory-small.json')
    const cell = { contestant: { name: 'LoRA' }, learningRate: 1e-3, seed: 1 }
    new Record(path, { steps: 5 }).add(cell, { points: [] })
    expect(new Record(path, { steps: 5 }).find(cell)?.result).toEqual({ points: [] })
    expect(new Record(path, { steps: 5 }).find({ ...cell, seed: 2 })).toBeUndefined()
    expect(new Record(path, { steps: 6 }).find(cell)).toBeUndefined()
    rmSync(folder, { recursive: true })
  })

  test('the change of a bfloat16 model has the rank of its adapter, not that of rounding', async () => {
    const model = await loadModel(fileURLToPath(new URL('../../assets/demo-model', import.meta.url)), {
      device: 'cpu',
      dtype: 'bfloat16',
    })
    model.addAdapter('a', lora({ rank: 2 }))
    for (const { parameter } of model.trainableParameters()) {
      const { device, shape } = parameter
      const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(7.3 * i) / 20)
      parameter.copyFrom(Tensor.from(values, shape, { device }))
    }
    const { metrics } = await changeOfWeights(model, await linearWeights(model))
    expect(metrics.effectiveRank).toBeLessThanOrEqual(2)
    expect(metrics.effectiveRank).toBeGreaterThan(1.5)
    model.dispose()
  })

  test('a table has mean and sample deviation of the runs that ended, and their number', () => {
    expect(mean([1, 2, 6])).toBe(3)
    expect(deviation([1, 2, 6])).toBeCloseTo(Math.sqrt(7), 12)
    const run = (value, failure = null) => ({
      result: { points: failure ? [] : [{ step: 1, loss: value }], failure, trainableParameters: 1234 },
    })
    const contestant = { name: 'LoRA', learningRates: [1] }
    const repeated = [run(1), run(3), run(0, 'the loss is NaN')]
    const results = [{ contestant, learningRate: 1, swept: [run(1)], repeated }]
    const metrics = [{ key: 'loss', label: 'loss', format: (value) => value.toFixed(1) }]
    expect(resultTable(results, { metrics })).toContain('| LoRA | 1,234 | 1 | 2 of 3 ended | 2.0 ± 1.4 |')
  })
})
