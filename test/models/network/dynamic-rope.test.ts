/** Dynamic rotary scaling: a row that is longer than the model's positions has angles for its own length. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { randomStream } from '../../../lib/common/random.js'
import { loadModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { goldenPath, largestDifference } from '../../golden/files.js'
import { batchOf, logProbsOf } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const temporary = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const longest = 24
const random = randomStream(1, 'test', 'dynamic')
const row = (length: number) => Array.from({ length }, () => 3 + random.integer(100))

async function load(scaling: object, theta = 10000): Promise<Model> {
  const folder = join(temporary(), 'model')
  cpSync(goldenPath('tiny-untied/model'), folder, { recursive: true })
  const path = join(folder, 'config.json')
  const { rope_parameters: _, ...config } = JSON.parse(readFileSync(path, 'utf8'))
  const changed = { rope_theta: theta, rope_scaling: scaling, max_position_embeddings: longest }
  writeFileSync(path, JSON.stringify({ ...config, ...changed }))
  return loadModel(folder, { device: process.env.MORA_TEST_DEVICE ?? 'cpu', dtype: 'float32', threads: 2 })
}

const dynamic = { rope_type: 'dynamic', factor: 4 }
const rows = [row(longest), row(40), row(10), row(61)]

test('rows up to that length have plain angles; longer ones those of a plain model with their base', async () => {
  using plain = await load({ rope_type: 'default' })
  using scaled = await load(dynamic)
  const [one, two] = [await logProbsOf(plain, rows), await logProbsOf(scaled, rows)]
  expect(two[0]).toEqual(one[0])
  expect(two[2]).toEqual(one[2])
  expect(largestDifference(two[1]!, one[1]!)).toBeGreaterThan(1e-3)
  const { headSize } = plain.config
  using based = await load({ rope_type: 'default' }, 10000 * ((4 * 40) / longest - 3) ** (headSize / (headSize - 2)))
  expect(largestDifference((await logProbsOf(based, [rows[1]!]))[0]!, two[1]!)).toBeLessThan(1e-5)
})

test('packed rows have their own angles', async () => {
  using model = await load(dynamic)
  const packed = await model.tokenLogProbs(batchOf(rows.map((input_ids) => ({ input_ids }))))
  expect(largestDifference(packed, (await logProbsOf(model, rows)).flat())).toBeLessThan(1e-5)
})

test('a cache gives the logits of the whole row whose length it is told', async () => {
  using model = await load(dynamic)
  const ids = rows[3]!
  const [wanted] = await logProbsOf(model, [ids])
  using cache = model.createCache(ids.length)
  cache.rowLength = ids.length
  for (let from = 0, to = 20; to < ids.length; from = to, to += 1 + (to % 2)) {
    const logits = await model.nextLogits(Int32Array.from(ids.slice(from, to)), cache)
    const lse = Math.log(logits.reduce((sum, value) => sum + Math.exp(value), 0))
    expect(Math.abs(logits[ids[to]!]! - lse - wanted![to - 1]!)).toBeLessThan(1e-4)
  }
})

test('a text that grows beyond that length goes on: keys stay, new tokens have the angles of the length so far', async () => {
  using model = await load(dynamic)
  const ids = rows[1]!
  using cache = model.createCache(ids.length)
  using whole = model.createCache(ids.length)
  for (let to = 1; to <= longest; to++) await model.nextLogits(ids.slice(to - 1, to), cache)
  await model.nextLogits(ids.slice(0, longest), whole)
  const [one, other] = [cache, whole].map(async (each) => await model.nextLogits(ids.slice(longest, longest + 1), each))
  expect(largestDifference(await one!, await other!)).toBeLessThan(1e-4)
  expect(cache.length).toBe(longest + 1)
})
