/** The size of a chunk of logits, which does not change results. */
import { afterAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { cast } from '../../lib/tensor/operations/arithmetic.js'
import {
  crossEntropy,
  linearCrossEntropy,
  logitsBytes,
  logitsOf,
  targetLogProbs,
} from '../../lib/tensor/operations/loss.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope, scopeOverSteps } from '../../lib/tensor/scope.js'
import { runSteps } from '../../lib/tensor/steps.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { largestDifference } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const GiB = 2 ** 30
const rows = (kind: string, totalMemory: number, vocabulary: number) =>
  Math.floor(logitsBytes({ kind, facts: () => ({ totalMemory }) }, vocabulary) / (4 * vocabulary))

describe('a chunk of logits', () => {
  it.each([32_000, 128_256, 151_936, 262_144])(
    'has 1024 rows or more on a GPU of 16 GiB, of %i tokens',
    (vocabulary) => {
      // The memory that a card of 16 GiB reports.
      expect(rows('cuda', 15.6 * GiB, vocabulary)).toBeGreaterThanOrEqual(1024)
    },
  )

  it('takes at most a twelfth of a smaller GPU, and never less than on a CPU', () => {
    expect(logitsBytes({ kind: 'cuda', facts: () => ({ totalMemory: 6 * GiB }) }, 262_144)).toBe(GiB / 2)
    expect(rows('cuda', GiB / 4, 32_000)).toBe(rows('cpu', 64 * GiB, 32_000))
  })

  it('fits the caches of a CPU', () => {
    expect(rows('cpu', 1024 * GiB, 49_152)).toBe(256)
  })
})

describe('losses of logits in parts', () => {
  const device = testDevice()
  const random = randomStream(1, 'test', 'loss')
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  // More rows and columns than parts have, and no whole number of them.
  const [rows, width, vocabulary] = [1027, 8, 4500]
  const targetIds = Int32Array.from({ length: rows }, (_, i) => (i % 7 === 3 ? -1 : (i * 7919) % vocabulary))
  afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

  it.each([
    ['float32', null, 1e-5],
    ['float32', 3, 1e-5],
    ['bfloat16', null, 1e-2],
  ] as const)('and their gradients in %s, capped at %s, are those of whole logits', async (dtype, softcap, slack) => {
    using weights = new Parameter('x', Tensor.from(normal(rows * width), [rows, width], { device }))
    using head = Tensor.from(normal(vocabulary * width), [vocabulary, width], { device, dtype: dtype as FloatDType })
    using targets = Tensor.from(targetIds, [rows], { device, dtype: 'int32' })
    const form = { scale: 1.5, softcap }
    const results = []
    for (const make of [
      (x: Tensor) => linearCrossEntropy(x, head, targets, form),
      (x: Tensor) => crossEntropy(logitsOf(x, weightOf(head), form), targets),
    ]) {
      const loss = scope(() => make(cast(weights, dtype)))
      await loss.backward()
      results.push({ loss: await loss.item(), gradient: (await weights.grad!.data()) as Float32Array })
      loss.dispose()
      weights.zeroGrad()
    }
    const [parts, whole] = results
    expect(Math.abs(parts!.loss / whole!.loss - 1)).toBeLessThan(1e-6)
    const largest = Math.max(...whole!.gradient.map(Math.abs))
    expect(largestDifference(parts!.gradient, whole!.gradient)).toBeLessThan(slack * largest)
  })

  it('are the negative log-probabilities', async () => {
    using hidden = Tensor.from(normal(rows * width), [rows, width], { device })
    using head = Tensor.from(normal(vocabulary * width), [vocabulary, width], { device })
    using targets = Tensor.from(targetIds, [rows], { device, dtype: 'int32' })
    using logProbs = noGrad(() => runSteps(targetLogProbs(hidden, weightOf(head), targets)))
    using loss = noGrad(() => linearCrossEntropy(hidden, head, targets))
    const sum = ((await logProbs.data()) as Float32Array).reduce((total, value) => total - value, 0)
    expect(sum / (await loss.item())).toBeCloseTo(1, 6)
  })

  it('are computed to the end, whatever is done with the head between two steps', async () => {
    const dtype = 'bfloat16'
    using hidden = Tensor.from(normal(rows * width), [rows, width], { device, dtype })
    using targets = Tensor.from(targetIds, [rows], { device, dtype: 'int32' })
    const values = normal(vocabulary * width)
    const replaced: [Tensor, (head: Tensor) => void][] = [
      [Tensor.from(values, [vocabulary, width], { device, dtype }), (head) => head.dispose()],
      [
        new Parameter('head', Tensor.from(values, [vocabulary, width], { device })),
        (head) => {
          const parameter = head as Parameter
          parameter.assign(values)
          parameter.as(dtype)
        },
      ],
    ]
    for (const [head, replace] of replaced) {
      using whole = noGrad(() => runSteps(targetLogProbs(hidden, weightOf(head), targets)))
      const steps = scopeOverSteps(targetLogProbs(hidden, weightOf(head), targets))
      const { done, value } = noGrad(() => steps.next())
      if (!done) replace(head)
      using others = done ? value : noGrad(() => runSteps(steps))
      expect(await others.data()).toEqual(await whole.data())
      head.dispose()
    }
  })

  it('refuse a target past the vocabulary', async () => {
    using hidden = Tensor.zeros([1, width], { device })
    using head = Tensor.zeros([vocabulary, width], { device })
    using targets = Tensor.from(Int32Array.of(vocabulary), [1], { device, dtype: 'int32' })
    using loss = noGrad(() => linearCrossEntropy(hidden, head, targets))
    await expect(loss.item()).rejects.toThrow(/crossEntropy.* failed: .*4500/)
  })
})
