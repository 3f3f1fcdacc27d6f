/** The number of tokens of a step in one forward pass. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Model } from '../../../lib/models/model.js'
import type { FloatDType } from '../../../lib/native/addon.js'
import { openDevice } from '../../../lib/tensor/device.js'
import { Parameter } from '../../../lib/tensor/parameter.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { tokenBudget } from '../../../lib/train/setup/token-budget.js'
import { TinyModel } from '../tiny-model.js'

const MiB = 2 ** 20

let parameters: Parameter[] = []
beforeAll(() => {
  const device = openDevice({ device: 'cpu' })
  const zeros = (shape: number[]) => new Parameter('a', Tensor.zeros(shape, { device }))
  parameters = [zeros([1200, 1000]), zeros([100, 100])]
})
afterAll(() => {
  for (const parameter of parameters) parameter.dispose()
})

interface Size {
  sizes: { layers: number; hiddenSize: number; intermediateSize: number; vocabularySize: number }
  inUse: number
  trained: Parameter
}

/** A model as the budget sees it: by default SmolLM2-135M in bfloat16 with an adapter of about a million values. */
function model(
  change: { device?: string; totalMemory?: number; gradientCheckpointing?: boolean } = {},
  size: Partial<Size> = {},
): Model {
  const { device: kind = 'cpu', totalMemory = 24 * 1024 * MiB, gradientCheckpointing = false } = change
  const { inUse = 270 * MiB, trained = parameters[0]! } = size
  const { sizes = { layers: 30, hiddenSize: 576, intermediateSize: 1536, vocabularySize: 49_152 } } = size
  const tiny = new TinyModel()
  const facts = { ...tiny.device.facts(), totalMemory }
  const memory = { ...tiny.device.memory(), inUse }
  const device = Object.create(tiny.device, {
    kind: { value: kind },
    facts: { value: () => facts },
    memory: { value: () => memory },
  })
  return Object.assign(tiny, {
    config: { ...tiny.config, ...sizes },
    dtype: 'bfloat16' as FloatDType,
    gradientCheckpointing,
    device,
    trainableParameters: () => [{ name: 'a', parameter: trained }],
  })
}

describe('the tokens of a forward pass', () => {
  it('are a power of two that fits a part of the device', () => {
    expect(tokenBudget(model())).toBe(2048)
    expect(tokenBudget(model({ totalMemory: 2048 * MiB }))).toBe(1024)
    expect(tokenBudget(model({ totalMemory: 1000 * MiB }))).toBe(512)
    expect(tokenBudget(model({ device: 'cuda', totalMemory: 80 * 1024 * MiB }))).toBe(16384)
  })

  it('fit a part of a machine that ranks share, or a whole GPU', () => {
    const of = (change: Parameters<typeof model>[0], ranks: number) =>
      tokenBudget(model(change), undefined, undefined, ranks)
    expect(of({ totalMemory: 4096 * MiB }, 2)).toBe(of({ totalMemory: 2048 * MiB }, 1))
    expect(of({ device: 'cuda', totalMemory: 80 * 1024 * MiB }, 8)).toBe(16384)
    expect(() => of({ totalMemory: 1000 * MiB }, 2)).toThrow(
      /^This process may have 1000 MiB .* for 2 ranks, but this model needs about \d+ MiB/,
    )
  })

  it('fit the memory option of a run, and grow with it', () => {
    const [little, more, much] = [900, 1100, 4000].map((memory) => tokenBudget(model(), memory * MiB))
    expect(little).toBeGreaterThanOrEqual(256)
    expect(more).toBeGreaterThan(little!)
    expect(much).toBe(2048)
  })

  it('are more with gradient checkpointing', () => {
    expect(tokenBudget(model({ gradientCheckpointing: true }), 700 * MiB)).toBeGreaterThan(1000)
  })

  it('count what the process takes, and not logits that a small model never has', () => {
    const tiny = model(
      { totalMemory: 1024 * MiB },
      {
        sizes: { layers: 2, hiddenSize: 16, intermediateSize: 24, vocabularySize: 32 },
        inUse: MiB,
        trained: parameters[1]!,
      },
    )
    expect(() => tokenBudget(tiny, MiB)).toThrow(
      /memory is 1 MiB, .* about 257 MiB for 256 tokens at a time \([\d.]+ MiB for tensors, the rest for Node\.js and libraries\)/,
    )
    expect(tokenBudget(tiny, 260 * MiB)).toBeGreaterThan(256)
  })

  it('are refused if not even a few fit', () => {
    expect(() => tokenBudget(model(), 600 * MiB)).toThrow(
      /memory is 600 MiB, but this model needs about \d+ MiB .* or use gradientCheckpointing/,
    )
    expect(() => tokenBudget(model({ gradientCheckpointing: true }), 500 * MiB)).toThrow(/give it more\.$/)
  })
})
