/**
 * The model of a step on ranks, against times that are added up by hand, against its limits, and against what training sends.
 * bench/ranks.mjs runs to its end on the small checkpoint, and ranks compute there what one process does.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { doctor } from 'node-mora'
import { describe, expect, test } from 'vitest'
import { adapterParameters, bases, blockWeights, workOf } from '../../bench/ranks/bases.mjs'
import { whyNoMachines } from '../../bench/ranks/machines.mjs'
import { hiddenShare } from '../../bench/ranks/speed.mjs'
import {
  bucketsOf,
  efficiencyOf,
  gatherSeconds,
  leastBytes,
  reduceSeconds,
  ringBytes,
  stepTime,
} from '../../bench/ranks/step-model.mjs'
import { GradientSum } from '../../lib/train/gradient-sum.js'
import { drawn } from '../drawn.ts'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, needing } from '../needs.ts'

const folder = useTemporaryFolder()

/** Two blocks, whose gradients go out one by one. */
const work = { forward: [1, 1], head: 1, backward: [2, 2], rest: 0.5 }
const buckets = [
  { bytes: 100, upTo: 1 },
  { bytes: 100, upTo: 0 },
]
/** Between two ranks, an all-reduce sends as many bytes as the gradients have, and a gather half of them. */
const network = (bandwidth, latency = 0) => ({ ranks: 2, latency, bandwidth })

describe('a ring', () => {
  test('sends 2 (N−1)/N of the bytes from each rank, and nothing from one alone', () => {
    expect([1, 2, 3, 4, 1000].map((ranks) => ringBytes(ranks, 600))).toEqual([0, 600, 800, 900, 1198.8])
  })

  test('takes 2 (N−1) messages to reduce and N−1 to gather, each of 1/N of the bytes', () => {
    const four = { ranks: 4, latency: 0.1, bandwidth: 100 }
    expect(reduceSeconds(four, 1000)).toBeCloseTo(6 * 0.1 + 6 * 2.5, 12)
    expect(gatherSeconds(four, 1000)).toBeCloseTo(3 * 0.1 + 3 * 2.5, 12)
    expect(reduceSeconds({ ...four, ranks: 1 }, 1000)).toBe(0)
    expect(gatherSeconds({ ...four, ranks: 1 }, 1000)).toBe(0)
  })
})

describe('a step', () => {
  test('hides a sum behind what is left of the backward pass', () => {
    // Sums of 1.5 s: from 5 s, when the last block is done, to 6.5, and from 7 to 8.5.
    const { seconds, sending, exposed } = stepTime({ work, buckets, network: network(100 / 1.5) })
    expect([seconds, sending, exposed].map((value) => Number(value.toFixed(12)))).toEqual([9, 3, 1.5])
  })

  test('has one sum on its way at a time', () => {
    // Sums of 4 s: from 5 to 9 and from 9 to 13, 6 s after the backward pass.
    expect(stepTime({ work, buckets, network: network(25) })).toEqual({ seconds: 13.5, sending: 8, exposed: 6 })
  })

  test('waits for sums of few numbers before and after', () => {
    // Sums take 2 × 0.5 s each: one before everything, two before the optimizer. Gradients take as long, and arrive at 6 + 1 and
    // 8 + 1.
    const sums = { before: 1, after: 2 }
    const { seconds } = stepTime({ work, buckets, network: network(Number.POSITIVE_INFINITY, 0.5), sums })
    expect(seconds).toBe(1 + 7 + 1 + 2 + 0.5)
  })

  test('gathers a block before each of its passes, while the one before it computes', () => {
    // Gathers of 3 s end at 3, 6, 9 and 12; blocks compute at 3–4, 6–7, 9–11 and 12–14, the head at 7–8. The last block's
    // sum, of 1.5 s, waits for the last gather; the other is sent at 14.
    const shard = [400, 400]
    const { seconds, exposed } = stepTime({ work, buckets, network: network(200 / 3), shard })
    expect(seconds).toBeCloseTo(14 + 1.5 + 0.5, 12)
    expect(exposed).toBeCloseTo(1.5, 12)
  })

  test('reaches an efficiency of 1 alone, and on a network that takes no time', () => {
    const shard = [400, 400]
    const sums = { before: 1, after: 2 }
    for (const base of [undefined, shard]) {
      const what = { work, buckets, sums, shard: base }
      expect(efficiencyOf({ ...what, network: { ranks: 1, latency: 1, bandwidth: 1 } })).toBe(1)
      const free = { ranks: 512, latency: 0, bandwidth: Number.POSITIVE_INFINITY }
      expect(efficiencyOf({ ...what, network: free })).toBe(1)
    }
    // 7.5 s alone.
    expect(efficiencyOf({ work, buckets, network: network(25) })).toBeCloseTo(7.5 / 13.5, 12)
  })

  test('is the less efficient the more ranks there are, and the slower their links', () => {
    const efficiency = (ranks, bandwidth) =>
      efficiencyOf({ work, buckets, network: { ranks, latency: 0.01, bandwidth } })
    const byRanks = [1, 2, 4, 8, 16].map((ranks) => efficiency(ranks, 50))
    const byBandwidth = [1e9, 100, 50, 10].map((bandwidth) => efficiency(8, bandwidth))
    for (const values of [byRanks, byBandwidth]) {
      expect(values).toEqual([...values].sort((a, b) => b - a))
      expect(new Set(values).size).toBe(values.length)
    }
  })
})

test('buckets are the same as in training', async () => {
  const blocks = [0, 1, 2, 3, 4, 5, 6]
  const parameter = (name, shape) => ({ name, shape, grad: null, ensureGrad: () => ({ shape }) })
  const parameters = blocks.flatMap((block) => [
    parameter(`model.layers.${block}.self_attn.q_proj.M`, [300, 300]),
    parameter(`model.layers.${block}.mlp.up_proj.M`, [100, 10 + block]),
  ])
  const sent = []
  const sync = {
    ranks: { size: 2 },
    sumGradients: async (gradients) =>
      sent.push(gradients.reduce((sum, { shape: [rows, columns] }) => sum + 4 * rows * columns, 0)),
  }
  await new GradientSum(sync, parameters).finish()
  const bytes = blocks.map((block) => 4 * (90_000 + 100 * (10 + block)))
  const made = bucketsOf(bytes, leastBytes)
  expect(made.map((bucket) => bucket.bytes)).toEqual(sent)
  expect(made.map(({ upTo }) => upTo)).toEqual([4, 1, 0])
})

describe('bases', () => {
  test('have as many weights as Llama 2', () => {
    const weights = Object.values(bases).map((base) => {
      const { layers, hiddenSize, vocabularySize } = base
      return layers * blockWeights(base) + 2 * vocabularySize * hiddenSize + (2 * layers + 1) * hiddenSize
    })
    expect(weights).toEqual([6_738_415_616, 68_976_648_192])
  })

  test('take the time of their products and of attention', () => {
    const base = { layers: 1, hiddenSize: 4, intermediateSize: 8, heads: 2, keyValueHeads: 1, vocabularySize: 10 }
    // q 4 × 4, k and v 4 × 2, o 4 × 4; gate, up and down 4 × 8.
    const weights = 16 + 8 + 8 + 16 + 3 * 32
    // Rank 2: both sides of each.
    const adapter = 2 * (8 + 6 + 6 + 8 + 3 * 12)
    expect([blockWeights(base), adapterParameters(base, 2)]).toEqual([weights, adapter])
    // 5 tokens in two documents: 3 + 6 pairs of query and key.
    expect(workOf(base, { lengths: [2, 3], rank: 2, rate: 2 })).toEqual({
      forward: [5 * (weights + adapter) + 2 * 4 * 9],
      backward: [5 * (weights + 2 * adapter) + 5 * 4 * 9],
      head: 2 * 5 * 40,
      rest: 0,
    })
  })
})

test('gradients are hidden as far as they come before the last rank has ended its backward pass', () => {
  const answers = [
    {
      backward: 7,
      sums: [
        { ready: 1, end: 3 },
        { ready: 5, end: 9 },
      ],
    },
    {
      backward: 8,
      sums: [
        { ready: 2, end: 3 },
        { ready: 4, end: 9.5 },
      ],
    },
  ]
  // On their way from 2 to 3 and from 5 to 9.5, of which 1.5 s after 8.
  expect(hiddenShare(answers)).toBeCloseTo(1 - 1.5 / 5.5, 12)
  const late = answers.map((answer) => ({ ...answer, backward: 1 }))
  expect(hiddenShare(late)).toBe(0)
  const early = answers.map((answer) => ({ ...answer, backward: 10 }))
  expect(hiddenShare(early)).toBe(1)
})

const run = (script, ...own) => spawnSync(process.execPath, [script, ...own], { encoding: 'utf8' })

describe('simulation', () => {
  const script = 'bench/ranks/simulation.mjs'

  test('has a prediction for each base, network and number of ranks, as table, JSON and plots', () => {
    const file = join(folder(), 'simulation.json')
    const { status, stdout, stderr } = run(script, '--plot', folder(), '--json', file)
    expect([status, stderr]).toEqual([0, ''])
    const { predictions } = JSON.parse(readFileSync(file, 'utf8'))
    expect(predictions.map(({ base, gigabits, shard }) => [base, gigabits, shard])).toEqual(
      ['7B', '70B'].flatMap((base) => [false, true].flatMap((shard) => [10, 100, 400].map((g) => [base, g, shard]))),
    )
    const counts = Array.from({ length: 14 }, (_, i) => 2 ** (i + 1))
    for (const { points } of predictions) {
      expect(points.map(({ ranks }) => ranks)).toEqual(counts)
      for (const { efficiency } of points) expect(efficiency > 0 && efficiency <= 1).toBe(true)
    }
    for (const base of ['7B', '70B']) {
      expect(stdout).toContain(`${base}, a step of`)
      expect(readFileSync(join(folder(), `efficiency-${base}.svg`), 'utf8').match(/<polyline/g)).toHaveLength(6)
    }
  })

  test.each([
    [['--bases', '7B,8B'], 'Expected some of 7B, 70B for --bases but received 8B.'],
    [['--latency', '0'], 'Expected a number above 0 for --latency but received 0.'],
    [['--most', '1'], 'Expected an integer of 2 or more for --most but received 1.'],
  ])('refuses %j', (own, message) => {
    const { status, stderr } = run(script, ...own)
    expect([status, stderr]).toEqual([2, `${message}\n`])
  })
})

describe('benchmark', { timeout: 600_000 }, () => {
  const script = 'bench/ranks.mjs'

  needing(
    lack(
      'gloo',
      doctor().ranks.some(({ name }) => name === 'gloo'),
    ),
  ).test('steps on ranks have the losses of one process, and send the gradients once', () => {
    const file = join(folder(), 'bench.json')
    const parts = [...drawn('parts of the benchmark of ranks', ['overhead', 'speed', 'network'], 1), 'simulation']
    const sizes = ['--dtype', 'float32', '--length', '24', '--rounds', '1', '--links', '1000']
    const { status, stderr } = run(script, 'assets/demo-model', ...sizes, '--parts', parts.join(), '--json', file)
    expect(status, stderr).toBe(0)
    const { lines, overhead, speed, network, simulation } = JSON.parse(readFileSync(file, 'utf8'))
    const links = whyNoMachines({ mbit: 1000, milliseconds: 0 }) === null ? ['1000 Mb/s'] : []
    const steps = (name, sizes) => sizes.map((size) => `a step on ${name}, ${size} ${size === 1 ? 'rank' : 'ranks'}`)
    const onTwo = 'a step, 4 × 24, float32, 2 ranks of one thread'
    const wanted = {
      overhead: ['1 × 24, without ranks', '1 × 24, one rank', '4 × 24, without ranks'].map(
        (name) => `a step, ${name}, processor's time`,
      ),
      speed: ['a step, 4 × 24, float32, one process of 2 threads', onTwo],
      network: [...steps('loopback', [1, 2, 4]), ...links.flatMap((name) => steps(name, [2, 4]))],
      simulation: [],
    }
    expect(lines.map(({ name }) => name)).toEqual(parts.flatMap((part) => wanted[part]))
    if (overhead) expect(Number.isFinite(overhead.share)).toBe(true)
    if (speed) {
      expect(lines.find(({ name }) => name === onTwo).sides[0]).toMatchObject({ name: 'node-mora', agrees: true })
      expect(speed.hidden >= 0 && speed.hidden <= 1).toBe(true)
    }
    if (network) {
      expect(network.map(({ ranks }) => ranks)).toEqual([1, 2, 4, ...links.flatMap(() => [2, 4])])
      for (const { ring, sent } of network.filter(({ sent }) => sent !== null)) {
        // Headers and sums of few numbers add to it.
        expect(sent / ring).toBeGreaterThan(1)
        expect(sent / ring).toBeLessThan(1.5)
      }
    }
    expect(simulation.predictions).toHaveLength(12)
  })

  test.each([
    [['--parts', 'speed,all'], 'Expected some of overhead, speed, network, simulation for --parts but received all.'],
    [['--rows', '3'], 'Expected an integer of 4 or more for --rows but received 3.'],
    [['--links', '10/x'], 'Expected a number above 0 for --links but received x.'],
  ])('refuses %j', (own, message) => {
    const { status, stderr } = run(script, 'assets/demo-model', '--python', '/nonexistent/python3', ...own)
    expect([status, stderr]).toEqual([2, `${message}\n`])
  })
})
