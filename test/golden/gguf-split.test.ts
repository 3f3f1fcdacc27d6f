/** Split GGUF files: all parts are one model, and damaged sets are refused for their reason. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import type { MoraError } from '../../lib/common/errors.js'
import { readGguf } from '../../lib/io/gguf.js'
import { loadModel, mergeModel } from '../../lib/models/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { loadFamily } from './families.js'
import { goldenPath, lacksGolden, largestDifference } from './files.js'
import { logProbsOf } from './tiny-models.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

interface Case {
  readonly name: string
  readonly files: Record<string, { source: string; replace?: { offset: number; hex: string }[]; length?: number }>
  readonly open: string
  readonly logprobs?: string
}

interface Expected {
  readonly sequences: number[][]
  readonly logprobs: Record<string, number[][]>
  readonly tokenisation: { text: string; ids: number[] }[]
}

/** A few files lie beside the tests, the others in MORA_TEST_ASSETS only. */
const sourceName = (source: string) =>
  lacksGolden(`gguf-split/${source}`) === null ? `gguf-split/${source}` : `families3/gguf-split/${source}`
const own = <T>(name: string) => JSON.parse(readFileSync(goldenPath(`gguf-split/${name}`), 'utf8')) as T
const { good, bad } = own<{ good: Case[]; bad: Case[] }>('cases.json')
const { sequences, logprobs, tokenisation } = own<Expected>('expected.json')
const needed = ({ files }: Case) => Object.values(files).map(({ source }) => lacksGolden(sourceName(source)))

/** Float32, as the golden data's README says: 1e-6, and ten times that is allowed. */
const TOLERANCE = 1e-5

function build({ files, open }: Case): string {
  for (const [name, { source, replace = [], length }] of Object.entries(files)) {
    const bytes = readFileSync(goldenPath(sourceName(source)))
    for (const { offset, hex } of replace) bytes.set(Buffer.from(hex, 'hex'), offset)
    mkdirSync(dirname(join(at(), name)), { recursive: true })
    writeFileSync(join(at(), name), bytes.subarray(0, length))
  }
  return join(at(), open)
}

/** The part that an error names, and what it says. */
const refusals: Record<string, RegExp> = {
  'part-missing': /lacks 1 of 3 files .*: m-00002-of-00003\.gguf\.$/,
  'last-missing': /lacks 1 of 3 files .*: m-00003-of-00003\.gguf\.$/,
  'first-missing': /lacks 1 of 3 files that m-00002-of-00003\.gguf lists: m-00001-of-00003\.gguf\.$/,
  swapped: /m-00002-of-00003\.gguf is malformed: its split\.no is 2, but 1 was expected\.$/,
  'count-wrong': /m-00001-of-00003\.gguf is malformed: its split\.count is 4, but its name says 3\.$/,
  'count-wrong-in-part': /m-00002-of-00003\.gguf is malformed: its split\.count is 2, but 3 was expected\.$/,
  'tensors-count-wrong': /m-0000[12]-of-00003\.gguf is malformed: its split\.tensors\.count is 2[12], but .*2[12]/,
  'deeper-part': /m-00002-of-00003\.gguf is malformed: its split\.tensors\.count is 30, but 21 was expected\.$/,
  'wider-part': /m-00002-of-00003\.gguf: \S+ is \[.*\], but the configuration asks for \[/,
  duplicate: /m-00003-of-00003\.gguf is malformed: tensor "\S+" is also in m-00002-of-00003\.gguf\.$/,
  'other-folder': /lacks 1 of 3 files .*: m-00002-of-00003\.gguf\.$/,
  renamed: /model\.gguf is malformed: it is one of 3 parts of a model, but its name does not end with -00001-of-00003/,
  'other-prefix': /lacks 1 of 3 files .*: m-00002-of-00003\.gguf\.$/,
  truncated: /m-00003-of-00003\.gguf is malformed: tensor "\S+" ends at byte \d+, but the file has 27832/,
  'no-keys-in-part': /m-00002-of-00003\.gguf is malformed: its split\.no is missing, but 1 was expected\.$/,
  'version-1': /m-00002-of-00003\.gguf is malformed: it has version 1/,
}

describe('a split GGUF file', () => {
  test('has a refusal for each damaged set', () => expect(bad.map(({ name }) => name)).toEqual(Object.keys(refusals)))

  for (const one of good)
    needing(...needed(one)).test(`${one.name} loads with the log-probabilities of the whole`, async () => {
      using model = await loadFamily(build(one))
      const got = await logProbsOf(model, sequences)
      expect(largestDifference(got.flat(), logprobs[one.logprobs!]!.flat())).toBeLessThan(TOLERANCE)
      for (const { text, ids } of tokenisation) expect(await model.tokenizer!.encodeText(text)).toEqual(ids)
    })

  for (const one of bad)
    needing(...needed(one)).test(`${one.name} is refused`, async () => {
      const error = await loadModel(build(one)).then(
        (model) => model.dispose(),
        (reason: MoraError) => reason,
      )
      expect(error?.code).toBe(/missing|other-(folder|prefix)/.test(one.name) ? 'missing-file' : 'malformed-file')
      expect(error?.message).toMatch(refusals[one.name]!)
    })

  needing(lacksGolden('families3/gguf-split/metadata-first')).test(
    'may have no tensors in its first part',
    async () => {
      using model = await loadFamily(goldenPath('families3/gguf-split/metadata-first/tiny-Q8_0-00001-of-00003.gguf'))
      const got = await logProbsOf(model, sequences)
      expect(largestDifference(got.flat(), logprobs['whole/tiny-Q8_0.gguf']!.flat())).toBeLessThan(TOLERANCE)
    },
  )

  test('is written as one file or folder, without the keys of its parts', async () => {
    const path = build(good.find(({ name }) => name === 'renamed-all')!)
    using model = await loadFamily(path)
    model.addAdapter('small', lora({ rank: 2 }))
    await model.saveAdapter('small', join(at(), 'adapter'))
    for (const output of ['merged.gguf', 'merged']) {
      await mergeModel({ model: path, adapter: join(at(), 'adapter'), output: join(at(), output), dtype: 'float32' })
      using merged = await loadFamily(join(at(), output))
      const got = await logProbsOf(merged, sequences)
      expect(largestDifference(got.flat(), logprobs['whole/tiny-F16.gguf']!.flat())).toBeLessThan(TOLERANCE)
    }
    const { metadata } = await readGguf(join(at(), 'merged.gguf'))
    expect([...metadata.keys()].filter((key) => key.startsWith('split.'))).toEqual([])
    expect(metadata.get('general.name')).toBe('m')
  })
})
