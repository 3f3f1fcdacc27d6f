/**
 * Weights whose file is truncated while it is read give an error that says where the file ends; a signal would end this
 * process.
 */
import { cpSync, readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { randomStream } from '../../../lib/common/random.js'
import { loadModel, ModelSource } from '../../../lib/models/index.js'
import { openDevice } from '../../../lib/tensor/device.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const temporary = useTemporaryFolder()
const cases = process.env.MORA_TEST_LONG ? 500 : 12
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const ends = /model\.safetensors ends at byte \d+, but bytes \d+ to \d+ were expected/

function copyOfModel(name: string): { model: string; weights: string; size: number } {
  const model = join(temporary(), name)
  cpSync('assets/demo-model', model, { recursive: true })
  const file = readdirSync(model).find((entry) => entry.endsWith('.safetensors'))!
  return { model, weights: join(model, file), size: statSync(join(model, file)).size }
}

test('a weight that is gone when it is read rejects the next wait', async () => {
  const { model, weights } = copyOfModel('one')
  const device = openDevice()
  const source = await ModelSource.open(model)
  const name = [...source.weights.keys()].at(-1)!
  const target = Tensor.empty(source.shape(name), { device, dtype: 'float32' })
  source.loadInto(name, target) // opens the file
  await device.synchronize()
  truncateSync(weights, 1000)
  source.loadInto(name, target)
  await expect(device.synchronize()).rejects.toThrow(ends)
  await device.synchronize() // it is reported once
  source.closeFiles()
  target.dispose()
})

test(`a model that is shortened while it is loaded, ${cases} times`, { timeout: 600_000 }, async () => {
  const random = randomStream(seed, 'shortened')
  let refused = 0
  for (let i = 0; i < cases; i++) {
    const { model, weights, size } = copyOfModel(`model-${i}`)
    const loading = loadModel(model, { device: process.env.MORA_TEST_DEVICE as 'cpu' | undefined }).then(
      (loaded) => loaded.dispose(),
      (error: Error) => error,
    )
    for (let turn = random.integer(40); turn > 0; turn--) await nextTurn()
    truncateSync(weights, random.integer(size))
    const error = await loading
    if (!error) continue
    expect(error.message).toMatch(/ends at byte|is cut off|malformed|shorter|expected|were expected/)
    refused++
  }
  expect(refused).toBeGreaterThan(0)
})
