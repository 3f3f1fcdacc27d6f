import { expect, it } from 'vitest'
import { TrainSchema } from '../../../lib/options/index.js'
import { compareWithResumed, type RunFacts } from '../../../lib/train/run-facts.js'

/** Options that do not change results, or whose effects are compared instead. */
const FREE = `model data output evalData evalEvery saveEvery saveMinutes keepCheckpoints keepBest patience samplePrompt
  sampleEvery tensorboard resume overwrite allowChanges config json profile quiet offline device dtype threads adapter
  allowOtherBase epochs deterministic rankTimeout shard dataWeight teacher`.split(/\s+/)
/** Options that change the order of additions. */
const ROUNDING = ['microBatchSize', 'memory', 'gradientCheckpointing', 'packing', 'quantised']

const facts = (options: object, changes: Partial<RunFacts['machine']> = {}): RunFacts => ({
  options: { scheduler: 'cosine', ...options },
  machine: { device: 'cpu', processor: 'A', threads: 1, dtype: 'float32', tokenBudget: 1, ranks: 1, ...changes },
  versions: {},
  hashes: { model: 'm', data: 'd', evalData: null },
  trainable: { tensors: 1, parameters: 1 },
})

const compare = (name: string, allowed: string[] = []) =>
  compareWithResumed(facts({ [name]: 'before' }), facts({ [name]: 'now' }), allowed)

it.each(Object.keys(TrainSchema.shape))('a resumed run may change %s, or is refused', (name) => {
  if (FREE.includes(name)) return expect(compare(name)).toEqual([])
  const notice = `${name} is now and was before before: the run goes on, but not bit for bit as it would have.`
  if (ROUNDING.includes(name)) return expect(compare(name)).toEqual([notice])
  expect(() => compare(name)).toThrow(`The run to resume had ${name} before, but now it is now: use what it had`)
  expect(compare(name, [name])).toEqual([notice])
})

it('an option of a custom method must be the same', () => {
  expect(() => compare('foldOutput')).toThrow('The run to resume had foldOutput before')
})

it('another processor adds in another order', () => {
  const notices = compareWithResumed(facts({}), facts({}, { processor: 'B' }), [])
  expect(notices).toEqual(['processor is B and was A before: the run goes on, but not bit for bit as it would have.'])
})

it('rows that another version hashed are not called changed', () => {
  const before: RunFacts = { ...facts({}), hashes: { model: 'm', data: 'e', evalData: null } }
  const now: RunFacts = { ...facts({}), versions: { rows: '2' } }
  const words = 'had data with sha256 e… (by another version of node-mora, so the rows may be the same), but now it is'
  expect(() => compareWithResumed(before, now, [])).toThrow(words)
  expect(compareWithResumed(facts({}), now, [])).toEqual([])
})

it('more ranks of a machine have fewer threads each', () => {
  const notices = compareWithResumed(facts({}, { threads: 8 }), facts({}, { threads: 4, ranks: 2 }), [])
  expect(notices).toEqual([
    expect.stringMatching(/^ranks is 2/),
    expect.stringMatching(/^threads is 4 and was 8 before/),
  ])
})

it.each([
  [{ rank: 4, alpha: 8 }, { rank: 8, alpha: 16 }, 'rank was 4 and is 8'],
  [{ modulesToSave: ['norms'] }, {}, 'modulesToSave was ["norms"] and is not given'],
  [{}, {}, 'use the same model and adapter options'],
])('other trained tensors are refused with the option that made them: %o', (before, now, cause) => {
  const other: RunFacts = { ...facts(now), trainable: { tensors: 1, parameters: 2 } }
  expect(() => compareWithResumed(facts(before), other, ['all'])).toThrow(cause)
})
