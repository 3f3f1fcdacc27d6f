/** An adapter belongs to the base model that it was trained on (T15). */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { readSafetensorsHeader, writeSafetensors } from '../../../lib/io/safetensors.js'
import { loadModel, loadModelFor, mergeModel } from '../../../lib/models/index.js'
import { entriesOf, readTensors } from '../../golden/files.js'
import { expectedOf, loadTiny, logProbsOf } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
const { sequences } = expectedOf('tiny-untied')
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const at = (name: string) => join(temporary(), name)
const load = (path: string) => loadModel(path, { device, dtype: 'float32' })

beforeEach(async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('x', mora({ rank: 2 }))
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => ((i % 7) - 3) / 50))
  }
  await model.saveAdapter('x', at('adapter'))
  await model.save(at('rounded'), { dtype: 'bfloat16' })
  cpSync(model.path, at('moved'), { recursive: true })
})
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** The base named by a folder's weights. */
async function ownEntries(folder: string): Promise<unknown> {
  const { metadata } = await readSafetensorsHeader(join(folder, 'adapter_model.safetensors'))
  return JSON.parse(metadata.node_mora!)
}

test('T15 the file names its base, and how that was stored', async () => {
  expect(await ownEntries(at('adapter'))).toEqual({
    baseHash: expect.stringMatching(/^[0-9a-f]{64}$/),
    baseFormat: 'float32',
  })
})

test('T15 the same weights in another format are refused by name, and nothing is left behind', async () => {
  using model = await load(at('rounded'))
  const other = expect.objectContaining({
    code: 'other-base',
    message: expect.stringMatching(/another base model \(sha256 .*float32\).*sha256 .*bfloat16.*allowOtherBase/),
  })
  await expect(model.loadAdapter(at('adapter'))).rejects.toThrow(other)
  expect(model.adapters.size).toBe(0)
  const merge = { model: at('rounded'), adapter: at('adapter'), output: at('merged'), device }
  await expect(mergeModel(merge)).rejects.toThrow(other)
  expect(await mergeModel({ ...merge, allowOtherBase: true })).toMatchObject({ merged: model.linears().length })
})

test.each([undefined, 'one token', 128] as const)(
  'T15 loading for passes of %s tokens with it is refused before the model takes memory',
  async (passes) => {
    const load = (path: string, allowOtherBase = false) =>
      loadModelFor({ adapter: at('adapter'), allowOtherBase, passes }, path, { device, dtype: 'float32' })
    const before = liveBytes(testDevice())
    testDevice().resetPeak()
    await expect(load(at('rounded'))).rejects.toThrow(expect.objectContaining({ code: 'other-base' }))
    expect(testDevice().memory().peak).toBeLessThanOrEqual(before)
    for (const path of [at('rounded'), at('moved')]) {
      using model = await load(path, path === at('rounded'))
      expect([...model.adapters.keys()]).toEqual(['default'])
    }
  },
)

test('T15 an adapter that is allowed on another base belongs to that one when it is saved', async () => {
  using model = await load(at('rounded'))
  await model.loadAdapter(at('adapter'), 'x', { allowOtherBase: true })
  await model.saveAdapter('x', at('resaved'))
  using again = await load(at('rounded'))
  await again.loadAdapter(at('resaved'))
  expect(await logProbsOf(again, sequences)).toEqual(await logProbsOf(model, sequences))
})

/** The folder in the old format, with the header's entries in the configuration. */
async function asWrittenEarlier(changes: object = {}): Promise<string> {
  const path = join(at('adapter'), 'adapter_config.json')
  const json = JSON.parse(readFileSync(path, 'utf8'))
  const own = (await ownEntries(at('adapter'))) as object
  writeFileSync(path, JSON.stringify({ ...json, node_mora: { ...own, ...changes } }))
  const weights = join(at('adapter'), 'adapter_model.safetensors')
  await writeSafetensors(weights, entriesOf(readTensors(weights)))
  return path
}

test('T15 a folder in the old format is read correctly', async () => {
  await asWrittenEarlier()
  using model = await load(at('moved'))
  using other = await load(at('rounded'))
  await model.loadAdapter(at('adapter'), 'x')
  await expect(other.loadAdapter(at('adapter'))).rejects.toThrow(expect.objectContaining({ code: 'other-base' }))
  await model.saveAdapter('x', at('adapter'))
  expect(JSON.parse(readFileSync(join(at('adapter'), 'adapter_config.json'), 'utf8'))).not.toHaveProperty('node_mora')
  await expect(other.loadAdapter(at('adapter'))).rejects.toThrow(expect.objectContaining({ code: 'other-base' }))
})

test.each(['baseHash', 'baseFormat', 'templateHash'])('a %s that is not a text is refused', async (key) => {
  const path = await asWrittenEarlier({ [key]: [1] })
  using model = await load(at('moved'))
  await expect(model.loadAdapter(at('adapter'))).rejects.toThrow(
    expect.objectContaining({
      code: 'malformed-file',
      message: `${path}: expected a text for node_mora.${key} but found [1].`,
    }),
  )
})

test('T15 the same base elsewhere, with another end token, is the same base', async () => {
  const path = join(at('moved'), 'config.json')
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), eos_token_id: 7 }))
  using model = await load(at('moved'))
  await model.loadAdapter(at('adapter'))
  expect([...model.adapters.keys()]).toEqual(['default'])
})

test('T15 the file names no base if that was trained after loading', async () => {
  using model = await loadTiny('tiny-untied')
  model.trainAll()
  model.addAdapter('x', mora({ rank: 2 }))
  await model.saveAdapter('x', at('on-trained'))
  expect(await ownEntries(at('on-trained'))).toEqual({})
})
