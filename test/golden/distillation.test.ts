/** Distillation against TRL: divergences of tokens, losses and gradients. */
import { afterAll, describe, expect, test } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { distill } from '../../lib/objectives/distill.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import {
  answerOf,
  evaluated,
  expectLikeGolden,
  type GoldenCase,
  type GoldenCompletion,
  loadStart,
  loadTeacher,
  objectiveOf,
} from './objectives.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

type DistillationCase = GoldenCase<GoldenCompletion> & { tokenDivergences: number[][] }

const golden = objectiveOf<GoldenCompletion>('distillation')
const pieces = golden.rows.map(({ prompt, completion }, row) => ({ ...answerOf(prompt, completion), row }))

describe.each(golden.cases as DistillationCase[])('$name', (one) => {
  const { beta, temperature, numItems } = one.options as Record<'beta' | 'temperature' | 'numItems', number>

  test('loss and gradient are those of the reference', async () => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    const batch = packBatch(pieces)
    const got = await evaluated(model, distill({ teacher, beta, temperature }), [batch])
    const share = numItems ? batch.targetTokens / numItems : 1
    const gradients = new Map([...got.gradients].map(([name, values]) => [name, values.map((value) => share * value)]))
    expectLikeGolden(golden, one, { ...got, loss: share * got.loss, gradients })
  })

  test('each answer has the divergence of the reference', async () => {
    using model = await loadStart()
    using teacher = await loadTeacher()
    const objective = distill({ teacher, beta, temperature })
    for (const [i, piece] of pieces.entries()) {
      const { loss } = await objective.loss(model, packBatch([piece]), { gradients: false })
      const wanted = one.tokenDivergences[i]!.reduce((sum, value) => sum + value, 0)
      expect(Math.abs((await loss.item()) - wanted) / Math.max(1, wanted)).toBeLessThan(1e-5)
      loss.dispose()
    }
  })
})
