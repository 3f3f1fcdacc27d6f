/** A resumed run with other functions of the program is refused by name, unless the change is allowed. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import type { LossOptions, Objective } from '../../../lib/objectives/objective.js'
import { functionHashes } from '../../../lib/train/checkpoints/function-hashes.js'
import type { TrainOptions } from '../../../lib/train/train.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { rows, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

class Halved implements Objective {
  readonly name: string = 'own'
  async loss(...[model, batch, { gradients }]: Parameters<Objective['loss']>) {
    const { loss, targetTokens } = await model.lossAsync(batch, { gradients })
    return { loss, weight: this.divisor(targetTokens) }
  }
  divisor(tokens: number): number {
    return 2 * tokens
  }
}
class Quartered extends Halved {
  override divisor(tokens: number): number {
    return 4 * tokens
  }
}

const half = (answer: { ids: readonly number[] }) => answer.ids.length / 2
const third = (answer: { ids: readonly number[] }) => answer.ids.length / 3
const isRow = () => true
const isAnyRow = () => 1 + 1 === 2

/** Trains some steps, and then the rest in a second run. */
async function inHalves(first: Partial<TrainOptions>, second: Partial<TrainOptions>, objectives: Objective[]) {
  const output = join(folder(), 'out')
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const options = { data, output, batchSize: 4, maxSteps: 4, overwrite: true }
  await trainTiny({ ...options, ...first, objective: objectives[0] }, {}, (event, run) => {
    if (event.type === 'step' && event.step === 2) void run.stop()
  })
  return trainTiny({ ...options, overwrite: false, resume: true, ...second, objective: objectives[1] })
}

it.each<[string, Partial<TrainOptions>, Partial<TrainOptions>, Objective[]]>([
  ['objective', {}, {}, [new Halved(), new Quartered()]],
  ['filter', { filter: isRow }, { filter: isAnyRow }, []],
  ['filter', {}, { filter: isRow }, []],
  ['map', { map: (row) => row }, {}, []],
])('another %s is refused', async (name, first, second, objectives) => {
  const words = new RegExp(`had ${name} .*, but now it is .*: use what it had.*allowChanges: \\['${name}'\\]`)
  await expect(inHalves(first, second, objectives)).rejects.toThrow(words)
  const { result } = await inHalves(first, { ...second, allowChanges: [name] }, objectives)
  expect(result.steps).toBe(4)
})

it('the same functions go on, and run.yaml has their hashes', async () => {
  const { result } = await inHalves({ filter: isRow }, { filter: isRow }, [new Halved(), new Halved()])
  expect(result.steps).toBe(4)
  const { functions } = parse(readFileSync(join(folder(), 'out', 'run.yaml'), 'utf8')) as { functions: object }
  expect(Object.keys(functions)).toEqual(['objective', 'filter'])
})

it('the source of every function counts, in lists, by name and in objects of functions', () => {
  const differ = (name: string, one: unknown, other: unknown) =>
    expect(functionHashes({ [name]: one })[name]).not.toBe(functionHashes({ [name]: other })[name])
  differ('rewards', [half], [third])
  differ('rewards', { short: half }, { short: third })
  differ('rewards', { short: half }, { long: half })
  differ('tools', { add: { run: half } }, { add: { run: third } })
  differ('environment', half, third)
  const objective = (weight: (options: LossOptions) => number, options = {}): Objective => ({
    name: 'own',
    options,
    stepSums: { length: 1, of: () => [weight({ gradients: true })] },
    loss: () => Promise.reject(weight),
  })
  expect(functionHashes({ objective: objective(() => 1, { a: 1 }) })).not.toEqual(
    functionHashes({ objective: objective(() => 1, { a: 2 }) }),
  )
  const cycle: Record<string, unknown> = { half }
  cycle.self = cycle
  expect(functionHashes({ rewards: cycle, map: undefined, tools: {} })).toEqual({ rewards: expect.any(String) })
})
