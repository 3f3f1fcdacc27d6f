/** Rotary tables of every kind of scaling, as transformers makes them in float64. */
import { describe, expect, test } from 'vitest'
import { ConfigReader } from '../../lib/models/families/config-reader.js'
import { readRotaries, readRotary } from '../../lib/models/families/rotary-settings.js'
import { inverseFrequencies, RotaryTables } from '../../lib/nn/rotary.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { goldenJson, lacksGolden, largestDifference } from '../golden/files.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

interface Case {
  cls: string
  config: Record<string, unknown>
  layerType?: 'full_attention' | 'sliding_attention'
  headDim: number
  rotaryDim: number
  maxPositionEmbeddings: number
  invFreq: number[]
  positions?: number[]
  cos?: number[][]
  sin?: number[][]
  /** One module, called with rows of these lengths in turn; `lengthInUse` is the longest so far where that counts. */
  calls?: { length: number; invFreq: number[]; cosLast: number[]; sinLast: number[]; lengthInUse?: number }[]
}

const file = 'families3/rope/rope.json'
const lacking = lacksGolden(file)
const cases = lacking === null ? Object.entries(goldenJson<Record<string, Case>>(file)) : []
/** GLM rotates neighbours. */
const supported = cases.filter(([name]) => name !== 'default-partial-interleaved')

needing(lacking).test('there are cases', () => expect(supported.length).toBeGreaterThan(30))

describe.each(supported)('%s', (_, golden) => {
  const { config, layerType, headDim: headSize, rotaryDim, maxPositionEmbeddings: maxPositions } = golden
  const defaults = { headSize, maxPositions, ...(golden.cls !== 'Llama' && { partial: 1 }) }
  const read = new ConfigReader(config, 'config.json')
  const ofLayers = layerType && readRotaries(read, defaults)
  const plan = ofLayers ? ofLayers[layerType === 'full_attention' ? 'global' : 'local'] : readRotary(read, defaults)

  const tablesAt = async (positions: number[], rowLength: number): Promise<[cos: number[], sin: number[]][]> => {
    const device = testDevice()
    const tables = new RotaryTables(plan, 'float32', device)
    using onDevice = Tensor.from(Int32Array.from(positions), [positions.length], { device, dtype: 'int32' })
    const rowLengths = Int32Array.from(positions, () => rowLength)
    const input = tables.at({ positions: Int32Array.from(positions), onDevice, rowLengths })
    const places = [...((await input.positions.data()) as Int32Array)]
    const [cosines, sines] = (await Promise.all([input.cosines.data(), input.sines.data()])) as Float32Array[]
    tables.dispose()
    for (const tensor of [input.positions, input.cosines, input.sines]) if (!tensor.disposed) tensor.dispose()
    const half = rotaryDim / 2
    const row = (table: Float32Array, place: number) => [...table.subarray(place * half, (place + 1) * half)]
    return places.map((place) => [row(cosines!, place), row(sines!, place)])
  }

  const expectFrequencies = (got: Float64Array, wanted: number[]) => {
    expect(got.length).toBe(wanted.length)
    for (const [j, value] of got.entries()) expect(Math.abs(value - wanted[j]!)).toBeLessThanOrEqual(1e-13 * wanted[j]!)
  }

  if (golden.positions) {
    test('frequencies, cosines and sines', async () => {
      expect(plan.headSize).toBe(rotaryDim)
      expectFrequencies(inverseFrequencies(plan), golden.invFreq)
      for (const [i, [cosines, sines]] of (await tablesAt(golden.positions!, 0)).entries()) {
        expect(largestDifference(cosines, golden.cos![i]!)).toBeLessThan(1.2e-7)
        expect(largestDifference(sines, golden.sin![i]!)).toBeLessThan(1.2e-7)
      }
    })
  } else {
    // transformers' module remembers the longest row; here each row has the angles of its own length.
    const ofOwnLength = golden.calls!.filter(
      ({ length, lengthInUse = length }) => lengthInUse === Math.max(length, maxPositions) || lengthInUse === length,
    )
    test.each(ofOwnLength)('a row of $length tokens', async ({ length, invFreq, cosLast, sinLast }) => {
      expectFrequencies(inverseFrequencies(plan, length), invFreq)
      const [, [cosines, sines]] = (await tablesAt([0, length - 1], length)) as [unknown, [number[], number[]]]
      expect(largestDifference(cosines, cosLast)).toBeLessThan(1.2e-7)
      expect(largestDifference(sines, sinLast)).toBeLessThan(1.2e-7)
    })
  }
})
