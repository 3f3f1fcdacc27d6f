/** Adapters of families whose GGUF files cut or reorder weights: merged into a file, and as a GGUF LoRA beside it, they are the same. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { randomStream } from '../../lib/common/random.js'
import { ggufFamilyOf } from '../../lib/models/families/gguf-config.js'
import { exportAdapter, initModel, type LoadOptions, loadModel, mergeModel } from '../../lib/models/index.js'
import { columnsInFile } from '../../lib/models/quantise/importance.js'
import { withGgufLora } from '../../lib/models/read/added-lora.js'
import { ModelSource } from '../../lib/models/read/model-source.js'
import { type NativeFile, native } from '../../lib/native/addon.js'
import { keep } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { testDevice } from '../operations/harness.js'
import { describeFamilies, familyExpected, loadFamily } from './families.js'
import { goldenJson, largestDifference } from './files.js'
import { logProbsOf } from './tiny-models.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)

describeFamilies(
  ['granitemoehybrid-dense', 'qwen3_5-text', 'qwen3_5', 'gemma4-e2b-text', 'gemma4-e2b'],
  (name, folder) => {
    const { sequences } = familyExpected(name)

    if (name !== 'qwen3_5')
      test('a file of blocks is the file of floats, quantised on loading', async () => {
        const load = async (path: string, options: LoadOptions) => {
          using model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 2, ...options })
          return await logProbsOf(model, sequences)
        }
        using model = await loadFamily(folder)
        await model.save(at('floats.gguf'), { dtype: 'float32' })
        await model.save(at('blocks.gguf'), { dtype: 'float32', quantise: 'q8_0' })
        const kept = await load(at('blocks.gguf'), { quantised: true })
        expect(kept).toEqual(await load(at('floats.gguf'), { quantise: 'q8_0' }))
        const unpacked = await load(at('blocks.gguf'), { quantised: false })
        for (const [i, values] of unpacked.entries()) expect(largestDifference(values, kept[i]!)).toBeLessThan(1e-3)
        using again = await loadFamily(at('blocks.gguf'))
        await again.save(at('again.gguf'), { dtype: 'float32', quantise: 'q8_0' })
        expect(await load(at('again.gguf'), { quantised: true })).toEqual(kept)
      })

    test('a LoRA is the same merged into a file and beside it', async () => {
      const random = randomStream(1, 'gguf')
      using model = await loadFamily(folder)
      await model.save(at('base.gguf'))
      model.addAdapter('x', lora({ rank: 3, targetModules: 'all-linear' }))
      for (const { parameter } of model.trainableParameters())
        parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
      await model.saveAdapter('x', at('adapter'))
      const expected = await logProbsOf(model, sequences)

      await mergeModel({ model: folder, adapter: at('adapter'), output: at('merged.gguf'), threads: 2 })
      using merged = await loadFamily(at('merged.gguf'))
      for (const [i, values] of (await logProbsOf(merged, sequences)).entries())
        expect(largestDifference(values, expected[i]!)).toBeLessThan(1e-4)

      await exportAdapter({ model: folder, adapter: at('adapter'), output: at('lora.gguf'), format: 'gguf-lora' })
      const { weights, config } = await ModelSource.open(at('base.gguf'))
      const sums = await withGgufLora(at('lora.gguf'), weights, config, ggufFamilyOf(config))
      const together = await ModelSource.open(at('merged.gguf'))
      const files = new Map<string, NativeFile>()
      const open = (path: string) => files.get(path) ?? files.set(path, native.openFile(path)).get(path)!
      let adapted = 0
      for (const [weight, sum] of sums) {
        if (sum === weights.get(weight)) continue
        adapted++
        using got = keep(Tensor.empty(sum.shape, { device: testDevice() }))
        using wanted = keep(Tensor.empty(sum.shape, { device: testDevice() }))
        sum.readInto(got, open)
        together.loadInto(weight, wanted)
        expect(largestDifference(await got.data(), await wanted.data()), weight).toBeLessThan(1e-5)
      }
      expect(adapted).toBe(model.linears().length)
      for (const file of [...files.values(), together]) 'close' in file ? file.close() : file.closeFiles()
    })
  },
)

describe.each([
  [32, 'q8_0'],
  [16, null],
])('heads of %d columns in another order', (size, format) => {
  test(`are kept as ${format ?? 'floats'}`, async () => {
    const json = goldenJson<object>('families2/qwen3_5-text/config.json')
    writeFileSync(at('config.json'), JSON.stringify({ ...json, linear_value_head_dim: size }))
    using model = await initModel(at('config.json'), { seed: 1, device: 'cpu', dtype: 'float32' })
    await model.save(at('blocks.gguf'), { dtype: 'float32', quantise: 'q8_0' })
    const source = await ModelSource.open(at('blocks.gguf'))
    expect(source.keptFormat('model.layers.0.linear_attn.out_proj.weight')).toBe(format)
    const sequences = [[3, 7, 20, 91, 5, 60]]
    const load = async (quantised: boolean) => {
      using loaded = await loadModel(at('blocks.gguf'), { device: 'cpu', dtype: 'float32', quantised })
      return (await logProbsOf(loaded, sequences))[0]!
    }
    expect(largestDifference(await load(true), await load(false))).toBeLessThan(1e-3)
    // The second value head of the first key head comes after the first of the second.
    const columns = Float64Array.from({ length: 4 * size }, (_, column) => Math.floor(column / size))
    const inFile = columnsInFile(model.config, 'blk.0.ssm_out.weight', columns)
    expect([...inFile].filter((_, column) => column % size === 0)).toEqual([0, 2, 1, 3])
  })
})
