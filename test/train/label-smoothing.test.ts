/** Label smoothing as in PyTorch's `CrossEntropyLoss(label_smoothing)`: (1 - ε) · cross-entropy + ε · mean of -ln p. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { sft } from '../../lib/objectives/cross-entropy.js'
import { runObjective } from '../../lib/objectives/objective.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { train } from '../../lib/train/train.js'
import { batchOf, expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const rows = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
const batch = batchOf(rows)
const epsilon = 0.2

test('loss and gradients are those of the definition', async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('a', lora({ rank: 2 }))
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => 0.1 * Math.sin(i)))
  }
  /** In float64, from the logits. */
  const defined = async () => {
    using states = noGrad(() => model.forward(batch, { rows: 'targets' }))
    using logits = noGrad(() => states.logits())
    const values = await logits.data()
    const targets = batch.targets.filter((target) => target >= 0)
    const size = values.length / targets.length
    return targets.reduce((total, target, row) => {
      const own = values.subarray(row * size, (row + 1) * size)
      const lse = Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0))
      const mean = own.reduce((sum, value) => sum + value, 0) / size
      return total + (1 - epsilon) * (lse - own[target]!) + epsilon * (lse - mean)
    }, 0)
  }
  const { loss, weight } = await sft({ labelSmoothing: epsilon }).loss(model, batch, {
    gradients: true,
  })
  expect(weight).toBe(batch.targetTokens)
  expect(Math.abs((await loss.item()) / (await defined()) - 1)).toBeLessThan(1e-5)
  await loss.backward()
  loss.dispose()
  for (const { parameter } of model.trainableParameters()) {
    const gradient = await parameter.grad!.data()
    const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value ** 2, 0))
    const values = await parameter.data()
    const step = 0.2 / (norm + 5)
    const lossAt = (distance: number) => {
      parameter.assign(values.map((value, i) => value + (distance * gradient[i]!) / norm))
      return defined()
    }
    const [ahead, behind] = [await lossAt(step), await lossAt(-step)]
    const [further, back] = [await lossAt(2 * step), await lossAt(-2 * step)]
    parameter.assign(values)
    expect(Math.abs((8 * (ahead - behind) - (further - back)) / (12 * step * norm) - 1), parameter.name).toBeLessThan(
      2e-3,
    )
    parameter.zeroGrad()
  }
})

test('without smoothing the objective is the cross-entropy itself', async () => {
  using model = await loadTiny('tiny-untied')
  const lossOf = async (labelSmoothing?: number) => {
    const objective = runObjective(sft({ labelSmoothing }))
    const { loss } = await objective.loss(model, batch, { gradients: false })
    const value = await loss.item()
    loss.dispose()
    return value
  }
  expect(await lossOf(0)).toBe(await lossOf())
  expect(await lossOf(epsilon)).not.toBe(await lossOf())
})

test('a run has the same losses in micro-batches, and resumes bit for bit with the same smoothing only', async () => {
  const data = join(folder(), 'rows.jsonl')
  writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'))
  const run = async (name: string, changes: object) => {
    using model = await loadTiny('tiny-untied')
    const losses: number[] = []
    const onEvent = (event: { type: string; loss?: number | null }) => {
      if (event.type === 'step') losses.push(event.loss!)
    }
    const course = { data, labelSmoothing: epsilon, rank: 2, batchSize: 4, scheduler: 'constant', seed: 3 } as const
    await train(model, { ...course, output: join(folder(), name), onEvent, ...changes }).finished
    return losses
  }
  const whole = await run('whole', { maxSteps: 4 })
  const cut = await run('cut', { maxSteps: 4, microBatchSize: 1 })
  for (const [i, loss] of cut.entries()) expect(Math.abs(loss / whole[i]! - 1)).toBeLessThan(1e-5)
  await run('half', { maxSteps: 2 })
  await expect(run('half', { maxSteps: 4, resume: true, labelSmoothing: 0.1 })).rejects.toThrow('labelSmoothing 0.2')
  expect(await run('half', { maxSteps: 4, resume: true })).toEqual(whole.slice(2))
  await expect(run('other', { maxSteps: 1, objective: 'dft' })).rejects.toThrow(
    'labelSmoothing does not go with objective dft: it is an option of sft and',
  )
})
