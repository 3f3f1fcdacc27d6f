/** The benchmarks run to their end on the small checkpoint; where PyTorch is installed, both sides compute the same. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { doctor } from 'node-mora'
import { describe, expect, test } from 'vitest'
import { differenceReport } from '../../bench/common/difference.mjs'
import { pytorchVersion } from '../../bench/common/pytorch.mjs'
import { agreementOf, lineTable } from '../../bench/common/report.mjs'
import { spread, takeTurns } from '../../bench/common/turns.mjs'
import { decodingBound } from '../../bench/generation/bound.mjs'
import { exponentOf } from '../../bench/scaling/fit.mjs'
import { assetPath, lacksRealModel, REAL_MODEL } from '../assets.ts'
import { drawn } from '../drawn.ts'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksLong, needing } from '../needs.ts'

const folder = useTemporaryFolder()
const pytorch = pytorchVersion('/usr/bin/python3') !== null
const theirs = pytorch ? ['PyTorch, best'] : []
const model = 'assets/demo-model'

/** Runs a script of bench/ and returns the JSON that it wrote. */
function measured(script, ...own) {
  const file = join(folder(), 'bench.json')
  const shared = ['--quick', '--rounds', '1', '--threads', '1', '--json', file]
  const { status, stderr } = spawnSync(process.execPath, [script, ...shared, ...own], { encoding: 'utf8' })
  expect(stderr).not.toContain('do not agree')
  expect(status, stderr).toBe(0)
  return JSON.parse(readFileSync(file, 'utf8'))
}

const sidesOf = ({ lines }) => lines.map(({ name, sides }) => [name, sides.map((side) => side.name)])

function expectMeasured({ lines }) {
  for (const { name, sides, amount, possible } of lines) {
    if (amount !== undefined) expect(possible, name).toBeGreaterThan(0)
    for (const { seconds } of sides) {
      expect(seconds.least, name).toBeGreaterThan(0)
      expect(seconds.all, name).toHaveLength(1)
    }
  }
}

const benchmarks = [
  'generation',
  'llama-cpp',
  'merge',
  'load',
  'kernels',
  'scaling',
  'steps',
  'cost',
  'quantised',
  'rows',
  'memory',
  'main-thread',
  'busy',
]
const chosen = drawn('benchmarks', benchmarks, 1)
const of = (benchmark) => needing(chosen.includes(benchmark) ? null : lacksLong)

describe('benchmarks', { timeout: 600_000 }, () => {
  of('generation').test('generation: both sides choose the same tokens in float32', () => {
    const sizes = ['--prompt', '40', '--tokens', '8', '--dtypes', 'float32']
    const report = measured('bench/generation.mjs', model, ...sizes)
    expect(sidesOf(report)).toEqual([
      ['reading the prompt, float32', ['node-mora', ...theirs]],
      ['generating, float32', ['node-mora', ...theirs]],
    ])
    expectMeasured(report)
    for (const { sides } of report.lines)
      expect(sides.slice(1).map(({ agrees }) => agrees)).toEqual(theirs.map(() => true))
  })

  of('generation').test('generation: weights in blocks take turns with the same weights in bfloat16', () => {
    const sizes = ['--prompt', '40', '--tokens', '8', '--dtypes', 'bfloat16']
    const report = measured('bench/generation.mjs', model, ...sizes)
    expect(sidesOf(report).slice(2)).toEqual([
      ['reading the prompt, q8_0', ['weights in q8_0', 'weights in bfloat16']],
      ['generating, q8_0', ['weights in q8_0', 'weights in bfloat16']],
    ])
    expectMeasured(report)
  })

  of('llama-cpp').test('llama-cpp: both sides choose tokens in turn, timed by the clock and by the processor', () => {
    const packages = folder()
    const entry = join(packages, 'node_modules', 'node-llama-cpp', 'dist')
    mkdirSync(entry, { recursive: true })
    writeFileSync(join(entry, 'package.json'), '{"type": "module"}')
    // Chooses the prompt's last token again and again.
    writeFileSync(
      join(entry, 'index.js'),
      `const evaluate = async function* (ids) { for (;;) yield ids.at(-1) }
       const context = { getSequence: () => ({ clearHistory: async () => {}, evaluate }), currentThreads: 1 }
       const loadModel = async () => ({ createContext: async () => context })
       export const getLlama = async () => ({ loadModel, llamaCppRelease: { release: 'none' } })`,
    )
    const own = ['--formats', 'stored', '--prompt', '16', '--tokens', '4', '--packages', packages]
    const report = measured('bench/llama-cpp.mjs', model, ...own)
    const names = ['reading the prompt, stored', 'generating, stored']
    expect(sidesOf(report)).toEqual(names.map((name) => [name, ['node-mora', 'llama.cpp']]))
    expectMeasured({ lines: report.lines.map(({ amount, ...line }) => line) })
    expect(report.comparisons).toEqual(
      [1.5, 1].map((aim, i) => ({ name: names[i], speed: expect.any(Number), ofProcessor: expect.any(Number), aim })),
    )
    for (const { speed, ofProcessor } of report.comparisons) expect(Math.min(speed, ofProcessor)).toBeGreaterThan(0)
  })

  needing(lacksRealModel).test('large: a block of a 7B in Q4_0 trains', () => {
    const report = measured('bench/large.mjs', assetPath(REAL_MODEL), '--layers', '1', '--length', '16')
    expectMeasured({ lines: report.lines.map(({ amount, ...line }) => line) })
    const [{ memoryLimit, sides }] = report.lines
    expect(sides[0].peakMemory).toBeGreaterThan(report.fileBytes)
    expect(sides[0].peakMemory).toBeLessThan(memoryLimit)
  })

  of('merge').test('merge: every merged weight is that of a dense ΔW', () => {
    const report = measured('bench/merge.mjs', model, '--dtypes', 'float32')
    expect(sidesOf(report)).toEqual(
      ['lora r=8', 'rotation r=8', 'sharing r=8'].flatMap((method) => [
        [`merging ${method}, float32`, ['node-mora', 'its operations alone', ...theirs]],
        [`load, merge, save ${method}, float32`, ['node-mora', ...theirs]],
      ]),
    )
    expectMeasured(report)
    for (const { name, sides } of report.lines.filter(({ amount }) => amount !== undefined))
      expect(
        sides.slice(2).map(({ agrees }) => agrees),
        name,
      ).toEqual(theirs.map(() => true))
  })

  of('load').test('load: the command and the library reach a first and a second step', () => {
    const report = measured('bench/load.mjs', model, '--rows', '2', '--length', '24')
    const ours = ['node-mora', ...theirs]
    const all = ['node-mora', 'mora train', ...theirs]
    expect(sidesOf(report).map(([name, sides]) => [name.replace('checkpoint in bfloat16, ', ''), sides])).toEqual([
      ['interpreter starts', ours],
      ['libraries are loaded', ours],
      ['weights are loaded', ours],
      ['adapter and batch are made', ours],
      ['command to first step done', all],
      ['second step', all],
      ['beyond the step itself', all],
    ])
    const [parts, whole] = [report.lines.slice(0, 4), report.lines[4]]
    for (const [i, { seconds }] of whole.sides.filter(({ name }) => name !== 'mora train').entries()) {
      const sum = parts.reduce((total, { sides }) => total + sides[i].seconds.all[0], 0)
      expect(sum).toBeGreaterThan(0)
      expect(sum).toBeLessThan(seconds.all[0])
    }
  })

  of('kernels').test('kernels: attention and its gradients are those of PyTorch', () => {
    const report = measured('bench/kernels.mjs', model, '--dtypes', 'float32', '--lengths', '24,70', '--tokens', '50')
    expectMeasured(report)
    const attention = report.lines.filter(({ name }) => name.startsWith('attention'))
    expect(sidesOf({ lines: attention })).toEqual(
      ['2 × 24', '1 × 70'].flatMap((shape) =>
        ['forward', 'backward'].map((pass) => [`attention ${pass}, ${shape}, float32`, ['node-mora', ...theirs]]),
      ),
    )
    for (const { name, sides } of attention)
      expect(
        sides.slice(1).map(({ agrees }) => agrees),
        name,
      ).toEqual(theirs.map(() => true))
    expect(report.lines).toHaveLength(attention.length + 7)
  })

  of('scaling').test('scaling: each size has an exponent and a line in the plot', () => {
    const plot = join(folder(), 'plot.svg')
    const { lines, sweeps } = measured('bench/scaling.mjs', '--threads', '2', '--tiny', '--plot', plot)
    expect(sweeps.map(({ name }) => name)).toEqual(['width', 'depth', 'tokens', 'rank', 'vocabulary'])
    for (const { ofSize } of sweeps) expect(Number.isFinite(ofSize)).toBe(true)
    expect(sweeps[0].measured.map(({ parameters }) => parameters)).toEqual([
      128 * 64 + 64 * 64 * (4 + 9) + 3 * 64,
      128 * 128 + 128 * 128 * (4 + 9) + 3 * 128,
    ])
    expect(lines.at(-1).sides.map(({ name }) => name)).toEqual(['1 thread', '2 threads'])
    const svg = readFileSync(plot, 'utf8')
    expect(svg.match(/<polyline/g)).toHaveLength(5)
  })

  of('steps').test('steps: each is measured, and set beside the first of its kind', () => {
    const sizes = ['--rows', '2', '--length', '24', '--long', '60', '--ranks', '2,4', '--threads', '2']
    const report = measured('bench/steps.mjs', model, ...sizes)
    const methods = ['lora', 'rotation', 'sharing']
    const usual = 'rotation r=8, 2 × 24'
    const [long, alone] = ['rotation r=8, 1 × 60', 'rotation r=8, 2 × 24, 1 thread']
    const ofRank = (rank) => methods.map((name) => `${name} r=${rank}, 2 × 24`)
    const int8 = doctor().devices[0].int8Products ? [`${usual}, int8`] : []
    expect(report.lines.map(({ name }) => name)).toEqual([
      ...ofRank(2),
      ...ofRank(4),
      usual,
      long,
      usual,
      alone,
      ...int8.flatMap((name) => [usual, name]),
    ])
    expectMeasured({ lines: report.lines.filter(({ name }) => name !== alone && !int8.includes(name)) })
    const beside = (rank) =>
      ofRank(rank)
        .slice(1)
        .map((name) => `${name} beside lora r=${rank}, 2 × 24`)
    expect(report.comparisons.map(({ name }) => name)).toEqual([
      ...beside(2),
      ...beside(4),
      `${long} beside ${usual}, each token`,
      `${alone} beside ${usual}`,
      ...int8.map((name) => `${name} beside ${usual}`),
    ])
  })

  of('cost').test('cost: every method of the paper has its time, memory and parameters beside LoRA', () => {
    const { costs, lines } = measured('bench/cost.mjs', model, '--rows', '2', '--length', '24', '--ranks', '2,4')
    const byName = Object.fromEntries(costs.map((cost) => [cost.name, cost]))
    expect(costs).toHaveLength(2 * 11 + 1)
    expect(lines.map(({ name }) => name).sort()).toEqual(costs.map(({ name }) => name).sort())
    for (const { name, time, processor, memory, parameters, merge } of costs) {
      for (const ratio of [time, processor, memory]) expect(ratio, name).toBeGreaterThan(0)
      expect(merge !== undefined, name).toBe(/^Re/.test(name))
      if (!/frozen|FFT/.test(name)) expect(Math.abs(parameters - 1), name).toBeLessThan(0.3)
    }
    expect(byName['LoRA r=4']).toMatchObject({ time: 1, memory: 1, parameters: 1 })
    expect(byName['AsyLoRA, A frozen r=4'].parameters).toBeLessThan(0.7)
    expect(byName['AsyLoRA, A frozen r=4'].memory).toBeLessThan(1)
    expect(byName.FFT.parameters).toBeGreaterThan(5)
    expect(byName.FFT.memory).toBeGreaterThan(2)
  })

  of('quantised').test('quantised: weights in blocks and codes take turns with their values in bfloat16', () => {
    const own = ['--formats', 'q8_0,nf4', '--methods', 'lora:2', '--shapes', '2x24']
    const report = measured('bench/quantised.mjs', model, ...own)
    const names = ['q8_0, lora r=2, 2 × 24', 'nf4, lora r=2, 2 × 24']
    const sides = (format) => [`weights in ${format}`, 'weights in bfloat16', ...theirs]
    expect(sidesOf(report)).toEqual([
      [names[0], sides('q8_0')],
      [names[1], sides('nf4')],
    ])
    expectMeasured({ lines: report.lines.map(({ amount, ...line }) => line) })
    for (const { sides } of report.lines)
      expect(sides.slice(1).map(({ agrees }) => agrees)).toEqual([true, ...theirs.map(() => true)])
    expect(report.comparisons).toEqual(names.map((name) => ({ name, time: expect.any(Number) })))
  })

  of('rows').test('rows: packed and padded rows have the same losses, step by step in float32', () => {
    const rows = join(folder(), 'rows.jsonl')
    const words = 'the quick brown fox jumps over the lazy dog'.split(' ')
    const row = (_, i) => JSON.stringify({ prompt: words.slice(0, 1 + (i % 8)).join(' '), completion: `dog ${i}` })
    writeFileSync(rows, Array.from({ length: 6 }, row).join('\n'))
    const sizes = ['--data', rows, '--batch-size', '3', '--steps', '2', '--dtype', 'float32']
    const report = measured('bench/rows.mjs', model, ...sizes)
    expect(report.padded).toBeGreaterThan(report.tokens)
    expect(report.tokens).toBeGreaterThan(report.targets)
    const their = theirs.flatMap((name) => [`${name}, padded`, `${name}, packed`])
    expect(sidesOf(report)).toEqual([['rows, rotation r=8, float32', ['node-mora', ...their]]])
    expectMeasured(report)
    expect(report.lines[0].sides.slice(1).map(({ agrees }) => agrees)).toEqual(their.map(() => true))
  })

  of('memory').test('memory: a process of each side has a peak, with the same losses', () => {
    const report = measured('bench/memory.mjs', model, '--rows', '2', '--length', '24', '--dtype', 'float32')
    const short = ['a step', 'a step in 1.1 GiB', 'gradient checkpointing'].map((name) => `${name}, 2 × 24`)
    expect(sidesOf(report)).toEqual(
      [...short, 'micro-batches, 2 × 96'].map((name) => [name, ['node-mora', 'mora train', ...theirs]]),
    )
    expectMeasured(report)
    for (const { name, sides, memoryLimit } of report.lines) {
      expect(memoryLimit, name).toBeGreaterThan(0)
      for (const { peakMemory } of sides) expect(peakMemory, name).toBeGreaterThan(2 ** 24)
      expect(
        sides.slice(2).map(({ agrees }) => agrees),
        name,
      ).toEqual(theirs.map(() => true))
    }
  })

  of('main-thread').test('main-thread: the share of a step and the delays are measured', () => {
    const { lines } = measured('bench/main-thread.mjs', model, '--rows', '2', '--length', '24')
    const [step, cpu, delay, idle] = lines.map(({ sides }) => sides[0].seconds)
    expect(cpu.median).toBeGreaterThan(0)
    expect(cpu.median).toBeLessThan(step.median)
    for (const { all } of [delay, idle]) expect(all).toEqual([expect.any(Number)])
  })

  of('busy').test(
    'busy: a step, a token and a merge, alone and beside another process, with two builds in turn',
    () => {
      const sizes = ['--rows', '2', '--length', '24', '--loops', '0,1', '--beside', 'build/Release/mora.node']
      const report = measured('bench/busy.mjs', model, ...sizes)
      expect(sidesOf(report)).toEqual(
        ['a training step', 'a generated token', 'a merge'].flatMap((work) =>
          ['alone', 'beside 1'].map((where) => [`${work}, ${where}`, ['node-mora', 'the other build']]),
        ),
      )
      expectMeasured(report)
      for (const { count, limit } of report.lines) expect(limit === undefined).toBe(count === 0)
    },
  )

  test('one command runs the named ones, and refuses unknown names', () => {
    const { reports } = measured('bench/main.mjs', 'merge', '--model', model, '--python', '/nonexistent/python3')
    expect(reports.map(({ benchmark }) => benchmark)).toEqual(['merge'])
    expect(reports[0].lines.flatMap(({ sides }) => sides.map(({ name }) => name))).not.toContain('PyTorch, best')
    const wrong = spawnSync(process.execPath, ['bench/main.mjs', 'speed'], { encoding: 'utf8' })
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining('but received speed')])
  })
})

describe('reports', () => {
  const line = (name, seconds, more = {}) => ({
    name,
    sides: [{ name: 'node-mora', seconds: spread(seconds) }],
    ...more,
  })

  test('a table shows the share of the possible speed, and omits columns without a measurement', () => {
    const merging = line('merging', [0.4, 0.2, 0.3], { amount: 6, unit: 'GB/s', possible: 0.15 })
    merging.sides.push({ name: 'PyTorch', seconds: spread([0.6]), ...agreementOf(0.5, 0.1) })
    const [header, , ours, theirs] = lineTable([merging])
      .split('\n')
      .map((row) => row.split(/ {2,}/))
    expect(header).toContain('achieved')
    expect(ours).toEqual(['merging', 'node-mora', '300', '200–400', '3', '20.0', '40.0', 'GB/s', '50%', '-', '-'])
    expect(theirs.slice(-2)).toEqual(['2.00×', 'NO, 5e-1 apart'])
    expect(lineTable([line('alone', [1])])).not.toMatch(/achieved|agrees|unit/)
  })

  test('two reports are compared line by line, and a change within the spread is not a difference', () => {
    const report = (...lines) => ({ reports: [{ benchmark: 'merge', lines }] })
    const before = report(line('a', [1, 2, 3]), line('b', [2, 2.5]), line('c', [1]), line('gone', [1]))
    const after = report(line('a', [2.5, 4, 5]), line('b', [1, 1.5]), line('c', [1.5]), line('new', [1]))
    const [rows, ...only] = differenceReport(before, after).split('\n\n')
    expect(
      rows
        .split('\n')
        .slice(2)
        .map((row) => row.split(/ {2,}/).slice(-2)),
    ).toEqual([
      ['2.00×', 'within the spread'],
      ['0.56×', 'faster'],
      ['1.50×', 'slower'],
    ])
    expect(only).toEqual(['Only before:\n  merge · gone · node-mora', 'Only after:\n  merge · new · node-mora'])
  })

  test('sides take turns after an uncounted round, and the first side rotates', async () => {
    const order = []
    const side = (name) => ({ name, run: async () => order.push(name) })
    const results = await takeTurns([side('a'), side('b')], 2)
    expect(order.join('')).toBe('ab' + 'ab' + 'ba')
    expect(results).toEqual([
      [3, 6],
      [4, 5],
    ])
  })

  test('the exponent of a power law is found from its points', () => {
    const points = [1, 2, 3, 10].map((x) => ({ x, y: 7 * x ** 1.5 }))
    expect(exponentOf(points)).toBeCloseTo(1.5, 12)
  })

  test('generating reads each weight once a token, and the keys and values so far', () => {
    const config = { layers: 2, keyValueHeads: 3, headSize: 4, hiddenSize: 10, vocabularySize: 100 }
    const weights = [
      { dtype: 'bfloat16', shape: [20, 10] },
      { dtype: 'q8_0', shape: [10, 64] },
    ]
    // 200 numbers, 20 blocks of 34 bytes, and 2 · 2 · 3 · 4 numbers for each of 5 + 4 / 2 tokens.
    const bytes = 4 * (2 * 200 + 20 * 34 + 2 * 48 * 7)
    const seconds = decodingBound({ config, weights, prompt: 5, tokens: 4, dtype: 'bfloat16', bandwidth: 1 })
    expect(seconds).toBeCloseTo(bytes / 1e9, 15)
  })
})
