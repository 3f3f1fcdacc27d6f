import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { evaluate } from '../../lib/eval/index.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { loadTiny } from '../golden/tiny-models.js'

const rowsOf = (count: number, length: number) =>
  Array.from({ length: count }, (_, row) => ({
    ids: Int32Array.from({ length }, (_, i) => (row * 31 + i * 17) % 384),
    mask: new Uint8Array(length).fill(1),
    row,
  }))

describe('results of the CPU', () => {
  it.each(['float32', 'bfloat16', 'float16'] as const)('T24 have the same bits every time, in %s', async (dtype) => {
    const train = async (): Promise<Float32Array[]> => {
      const model = await loadTiny('tiny-untied', dtype)
      model.addAdapter('a', mora({ rank: 4, operator: 'rotation', dropout: 0.1 }))
      const parameters = model.trainableParameters().map(({ parameter }) => parameter)
      const optimizer = new AdamW(parameters)
      const batch = packBatch(rowsOf(5, 61))
      for (let step = 1; step <= 3; step++) {
        model.setDropout({ seed: 7, step })
        const { loss, targetTokens } = model.loss(batch)
        await loss.backward()
        optimizer.step({ learningRate: 1e-2, scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
        loss.dispose()
      }
      const values = await Promise.all(parameters.map(async (parameter) => await parameter.data()))
      optimizer.dispose()
      model.dispose()
      return values
    }
    const [first, second] = [await train(), await train()]
    expect(first.some((values) => values.some((value) => value !== 0))).toBe(true)
    expect(second).toEqual(first)
  })
})

describe('evaluation', () => {
  it('T25 keeps sums, not logits: memory does not grow with the number of rows', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-t25-'))
    const model = await loadTiny('tiny-untied')
    try {
      const peakFor = async (count: number): Promise<number> => {
        const path = join(folder, `${count}.jsonl`)
        writeFileSync(
          path,
          rowsOf(count, 40)
            .map(({ ids }) => `${JSON.stringify({ input_ids: [...ids] })}\n`)
            .join(''),
        )
        model.device.resetPeak()
        await evaluate(model, { task: 'perplexity', data: [path] })
        return model.device.memory().peak
      }
      const few = await peakFor(200)
      const logitsOfTheRest = 400 * 39 * 384 * 4
      expect(await peakFor(600)).toBeLessThan(few + logitsOfTheRest / 20)
    } finally {
      model.dispose()
      rmSync(folder, { recursive: true })
    }
  })
})
