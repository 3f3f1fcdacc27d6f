/** An adapter belongs to the base model that it was trained on (T15). */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/mora.js'
import { loadModel, mergeModel } from '../../lib/models/index.js'
import { expectedOf, loadTiny, logProbsOf } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

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

test('T15 the file says which base it was, and how that was stored', async () => {
  const { node_mora: provenance } = JSON.parse(readFileSync(join(at('adapter'), 'adapter_config.json'), 'utf8'))
  expect(provenance).toEqual({ baseHash: expect.stringMatching(/^[0-9a-f]{64}$/), baseFormat: 'float32' })
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

test('T15 an adapter that is allowed on another base belongs to that one when it is saved', async () => {
  using model = await load(at('rounded'))
  await model.loadAdapter(at('adapter'), 'x', { allowOtherBase: true })
  await model.saveAdapter('x', at('resaved'))
  using again = await load(at('rounded'))
  await again.loadAdapter(at('resaved'))
  expect(await logProbsOf(again, sequences)).toEqual(await logProbsOf(model, sequences))
})

test.each(['baseHash', 'baseFormat', 'templateHash'])('a %s that is no text is refused', async (key) => {
  const path = join(at('adapter'), 'adapter_config.json')
  const json = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify({ ...json, node_mora: { ...json.node_mora, [key]: [1] } }))
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

test('T15 nothing is said of a base that was trained after it was loaded', async () => {
  using model = await loadTiny('tiny-untied')
  model.trainAll()
  model.addAdapter('x', mora({ rank: 2 }))
  await model.saveAdapter('x', at('on-trained'))
  const { node_mora: provenance } = JSON.parse(readFileSync(join(at('on-trained'), 'adapter_config.json'), 'utf8'))
  expect(provenance).toEqual({})
})
