/** The tasks and the arithmetic of experiments/paper. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel, lora, Tensor } from 'node-mora'
import { afterAll, describe, expect, test } from 'vitest'
import { experiments, planOf, SCALES } from '../../experiments/paper/common/plan.mjs'
import { Record } from '../../experiments/paper/common/record.mjs'
import { deviation, mean, metricsOf, resultTable } from '../../experiments/paper/common/report.mjs'
import { linearWeights, spectraOfChange } from '../../experiments/paper/common/spectra.mjs'
import { SECTION_3, SECTION_5_2, SECTION_5_3, TABLE_5 } from '../../experiments/paper/contestants.mjs'
import { chatRows, choiceRows } from '../../experiments/paper/tasks/instruct.mjs'
import { baseTexts, SKILLS } from '../../experiments/paper/tasks/language.mjs'
import { mathRows } from '../../experiments/paper/tasks/math.mjs'
import { newLanguage } from '../../experiments/paper/tasks/new-language.mjs'
import { take } from '../../experiments/paper/tasks/take.mjs'
import { assetPath, lacksAsset } from '../assets.ts'
import { drawn } from '../drawn.ts'
import { lacksLong, needing } from '../needs.ts'

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
    expect(take(newLanguage(3), 20)).toEqual(take(newLanguage(3), 20))
    expect(take(newLanguage(3), 20)).not.toEqual(take(newLanguage(4), 20))
  })
})

const plans = Object.keys(experiments).flatMap((name) =>
  SCALES.flatMap((scale) => planOf(name, scale).map((plan) => ({ name, scale, ...plan }))),
)

describe('contestants', () => {
  const audit = needing(lacksAsset('paper-audit.md', "the paper's settings"))
  // The rows `| data | method | r | α | rates | schedule | warm-up steps | epochs | batch |`; an empty cell repeats the one above.
  audit.test("have the settings of the paper's Table 5", () => {
    const lines = readFileSync(assetPath('paper-audit.md'), 'utf8').split('\n')
    const table = lines.slice(lines.findIndex((line) => line.startsWith('| data | method')) + 2)
    const rows = table
      .slice(
        0,
        table.findIndex((line) => !line.startsWith('|')),
      )
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      )
    expect(rows).toHaveLength(15)
    let data = ''
    for (const [named, method, rank, alpha, rates, scheduler, warmupSteps, epochs, batchSize] of rows) {
      data = named || data
      const { training, full, ...ofRank } = TABLE_5[data]
      const numbers = { warmupSteps: Number(warmupSteps), epochs: Number(epochs), batchSize: Number(batchSize) }
      expect(training, data).toEqual({ scheduler, ...numbers })
      const settings = Object.values(ofRank).find((one) => one.rank === Number(rank))
      const known = method === 'FFT' ? full : method.startsWith('MoRA') ? settings.mora : settings.lora
      expect(known, `${data}, ${method}, r = ${rank}`).toEqual(rates.split(', ').map(Number))
      if (alpha) expect(settings.alpha).toBe(Number(alpha))
    }
  })

  test('are all six methods at both ranks, with the variants that the paper searched', () => {
    for (const { contestants } of plans.filter(({ name, scale }) => name === 'math' && scale === 'paper')) {
      const at = (rank) => ['LoRA', 'LoRA+', 'ReLoRA', 'AsyLoRA', 'DoRA'].map((name) => `${name}, r = ${rank}`)
      const names = ['FFT', ...at(8), 'MoRA rotation, r = 8', ...at(256), 'MoRA sharing, r = 256']
      expect(contestants.map(({ name }) => name)).toEqual(names)
      const of = (name) => contestants.find((one) => one.name === name)
      expect(of('LoRA, r = 8').options).toEqual({ method: 'lora', rank: 8, alpha: 16 })
      expect(of('LoRA, r = 256').options).toEqual({ method: 'lora', rank: 256, alpha: 128 })
      expect(of('AsyLoRA, r = 8').options).toMatchObject({ asyloraTrainA: true })
      expect(of('LoRA+, r = 8').variants.map(({ options }) => options.loraPlusRatio)).toEqual([2, 4])
      expect(of('ReLoRA, r = 8').variants.map(({ options }) => options.mergeEvery)).toEqual([1000, 2000])
      expect(of('ReLoRA, r = 8').options.restartWarmupSteps).toBe(50)
    }
    expect(SECTION_5_2).toMatchObject({ loraPlusRatios: [2, 4], mergeEvery: [1000, 2000] })
    expect(SECTION_3).toMatchObject({
      pairs: 10_000,
      batchSize: 1000,
      epochs: 100,
      loraRanks: [8, 16, 32, 64, 128, 256],
    })
    expect(SECTION_5_3).toMatchObject({
      maxSteps: 10_000,
      batchSize: 1024,
      maxLength: 512,
      rank: 128,
      mergeEvery: 2000,
    })
  })

  test('sweep four learning rates at small scale with three seeds, and three at real scale with one', () => {
    for (const { name, scale, seeds, contestants } of plans.filter((plan) => plan.scale !== 'paper')) {
      const [rates, runs] = scale === 'small' ? [4, 3] : [3, 1]
      expect(seeds, name).toHaveLength(runs)
      for (const one of contestants) expect(new Set(one.learningRates).size, `${name} ${one.name}`).toBe(rates)
    }
  })
})

describe('experiments', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-paper-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const paper = (...args) =>
    spawnSync(process.execPath, [fileURLToPath(new URL('../../experiments/paper/run.mjs', import.meta.url)), ...args], {
      encoding: 'utf8',
      env: { ...process.env, HF_HUB_CACHE: join(folder, 'no-cache'), MORA_TEST_ASSETS: '' },
    })

  const runs = Object.keys(experiments).flatMap((name) => SCALES.map((scale) => ({ name, scale })))
  test.each(drawn('experiments of the paper', runs, 1))(
    '$name reaches record, table and plot at $scale scale, on next to nothing',
    { timeout: 300_000 },
    ({ name, scale }) => {
      const output = join(folder, scale)
      const { status, stderr } = paper(name, '--scale', scale, '--tiny', '--output', output)
      expect(status, stderr).toBe(0)
      const { cells } = JSON.parse(readFileSync(join(output, `${name}-${scale}.json`), 'utf8'))
      const results = Object.values(cells)
      const table = readFileSync(join(output, `${name}-${scale}.md`), 'utf8')
      expect(readFileSync(join(output, `${name}-${scale}.svg`), 'utf8')).toContain('<svg')
      for (const plan of planOf(experiments[name].runsOf ?? name, scale, { tiny: true }))
        for (const contestant of plan.contestants) {
          const of = ({ part, contestant: { name: its } }) => part === plan.part && its === contestant.name
          const { result } = results.find(of)
          expect(result.failure, contestant.name).toBeNull()
          for (const metric of metricsOf(plan)) expect(result.points.at(-1)[metric.name]).toBeTypeOf('number')
          expect(table).toContain(`| ${contestant.name} |`)
        }
    },
  )

  needing(lacksLong).test('all are run by one command', { timeout: 300_000 }, () => {
    const output = join(folder, 'all')
    const { status, stderr } = paper('all', '--scale', 'small', '--tiny', '--output', output)
    expect(status, stderr).toBe(0)
    for (const name of Object.keys(experiments)) expect(existsSync(join(output, `${name}-small.md`)), name).toBe(true)
  })

  test('what is missing is said in one line each, with the command that fetches it, before anything runs', () => {
    const one = paper('math', '--scale', 'paper', '--output', join(folder, 'missing'))
    expect(one.status).toBe(2)
    expect(one.stderr).toMatch(/^math at paper needs .*meta-math\/MetaMathQA \(MIT\).*openai\/gsm8k:main:test.*\n$/)
    expect(one.stderr).toContain('npm run paper -- math --scale paper --fetch')
  })

  test('rows that a task refuses end the experiment before its first run', () => {
    const data = join(folder, 'data')
    mkdirSync(data)
    const row = JSON.stringify({ question: 'What is 2 + 3?', answer: 'It is 2 + 3 = 5.\n#### 5' })
    writeFileSync(join(data, 'gsm8k-train.jsonl'), `${row}\n${row}\n`)
    writeFileSync(join(data, 'gsm8k-test.jsonl'), `${JSON.stringify({ question: 'What is 2 + 3?' })}\n`)
    const model = fileURLToPath(new URL('../../assets/demo-model', import.meta.url))
    const output = join(folder, 'refused')
    const { status, stderr } = paper('math', '--scale', 'real', '--data', data, '--model', model, '--output', output)
    expect(status).toBe(1)
    expect(stderr).toContain('gsm8k-test.jsonl')
    expect(existsSync(join(output, 'math-real.json'))).toBe(false)
  })
})

describe('comparisons', () => {
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
    const { effectiveRank, above } = await spectraOfChange(model, await linearWeights(model))
    expect(effectiveRank).toBeLessThanOrEqual(2)
    expect(effectiveRank).toBeGreaterThan(1.5)
    expect(Object.keys(above).sort()).toEqual(['down', 'gate', 'k', 'o', 'q', 'up', 'v'])
    model.dispose()
  })

  test('a table has mean and sample deviation of the runs that ended, and their number', () => {
    expect(mean([1, 2, 6])).toBe(3)
    expect(deviation([1, 2, 6])).toBeCloseTo(Math.sqrt(7), 12)
    const run = (value, failure = null) => ({
      result: { points: failure ? [] : [{ step: 1, loss: value }], failure, trainableParameters: 1234 },
    })
    const contestant = { name: 'LoRA' }
    const best = { contestant: { label: 'λ = 2' }, learningRate: 1 }
    const repeated = [run(1), run(3), run(0, 'the loss is NaN')]
    const results = [{ contestant, best, swept: [run(1)], repeated }]
    const metrics = [{ name: 'loss', format: (value) => value.toFixed(1) }]
    expect(resultTable(results, metrics)).toContain('| LoRA | 1,234 | 1, λ = 2 | 2 of 3 ended | 2.0 ± 1.4 |')
  })
})
