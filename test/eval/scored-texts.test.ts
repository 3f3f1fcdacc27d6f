/** Texts scored by a function of one's own, and texts that were made elsewhere. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { type EvaluateOptions, evaluate } from '../../lib/eval/index.js'
import { generate } from '../../lib/generate/index.js'
import { initModel, type Model } from '../../lib/models/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadScripted } from '../generate/scripted-model.js'
import { goldenPath } from '../golden/files.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'

let tokenizer: Tokenizer
/** A model that says nothing. */
let silent: Model
const folder = mkdtempSync(join(tmpdir(), 'mora-scored-'))
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
  silent = await loadScripted([])
})
afterEach(() => vi.restoreAllMocks())
afterAll(() => {
  silent.dispose()
  rmSync(folder, { recursive: true })
})

const CHATML = goldenPath('templates/chatml.jinja')
const write = (name: string, content: string) => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const texts = (name: string, ...list: string[]) =>
  write(name, list.map((text) => `${JSON.stringify({ text })}\n`).join(''))

const data = [
  { prompt: 'Say sea.', wanted: { word: 'sea' } },
  { prompt: 'Say land.', wanted: { word: 'land' } },
]

it('the task generate scores what the model writes by a function, which sees all columns', async () => {
  using model = await loadScripted([
    { prompt: await tokenizer.encodeText('Say sea.'), reply: await tokenizer.encodeContinuation(' sea') },
  ])
  const rows: unknown[] = []
  const result = await evaluate(model, {
    task: 'generate',
    data,
    details: true,
    score: async ({ row, text }) => {
      rows.push(row)
      return text.includes((row.wanted as { word: string }).word) ? 1.5 : 0
    },
  })
  expect(rows).toEqual(data)
  expect(result).toEqual({
    task: 'generate',
    rows: [
      { prompt: 'Say sea.', text: ' sea', score: 1.5 },
      { prompt: 'Say land.', text: '', score: 0 },
    ],
    score: 0.75,
    accuracy: 0.75,
  })
})

it('the task generate continues ids as they are', async () => {
  const ids = await tokenizer.encodeText('Say sea.')
  const reply = await tokenizer.encodeContinuation(' sea')
  using model = await loadScripted([{ prompt: ids, reply }])
  const score = ({ text }: { text: string }) => text.length
  const call = { task: 'generate', data: [{ input_ids: ids }], details: true, score } as const
  expect(await evaluate(model, call)).toMatchObject({ rows: [{ prompt: ids, text: ' sea', score: 4 }] })
})

it('a scorer may be the default export of a file', async () => {
  const scorer = write('length.mjs', 'export default ({ text }) => text.length')
  const predictions = texts('words.jsonl', 'one', 'three')
  const result = await evaluate(null, { task: 'generate', data, predictions, scorer })
  expect(result).toEqual({ task: 'generate', rows: 2, score: 4, accuracy: 4 })
})

it('the lines of output are the entries of details', async () => {
  const predictions = texts('two.jsonl', '#### 3', 'It is 5.')
  const output = join(folder, 'lines.jsonl')
  const given = {
    task: 'gsm8k',
    data: [
      { question: '1 + 2?', answer: '#### 3' },
      { question: '2 + 2?', answer: '4' },
    ],
  } as const
  const { rows, accuracy } = await evaluate(null, {
    ...given,
    data: [...given.data],
    predictions,
    output,
    details: true,
  })
  expect(accuracy).toBe(0.5)
  const lines = readFileSync(output, 'utf8').trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line))).toEqual(rows)
  expect(rows[1]).toEqual({
    prompt: 'Question: 2 + 2?\nAnswer:',
    text: 'It is 5.',
    answer: '4',
    extracted: null,
    score: 0,
    strict: 0,
    flexible: 0,
    metamath: 0,
  })
  // A file of such lines is itself a file of predictions.
  expect(await evaluate(null, { ...given, data: [...given.data], predictions: output })).toMatchObject({
    accuracy: 0.5,
  })
})

it.each<[string, Partial<EvaluateOptions>, RegExp]>([
  [
    'that throws',
    {
      score: () => {
        throw new Error('no network')
      },
    },
    /^row 1 of the rows given: the scorer failed: no network/,
  ],
  [
    'that gives NaN',
    { score: () => Number.NaN },
    /^row 1 of .*: expected a finite number from the scorer but received NaN/,
  ],
  ['that gives a text', { score: (() => '1') as never }, /expected a finite number from the scorer but received "1"/],
])('a scorer %s is named with its row', async (_, options, message) => {
  const run = evaluate(silent, { task: 'generate', data, ...options })
  await expect(run).rejects.toMatchObject({ code: 'scorer-failed', message: expect.stringMatching(message) })
})

it('texts are those that generate writes with the same options, and constrained', async () => {
  const form = { device: 'cpu', dtype: 'float32', threads: 1 } as const
  const config = JSON.parse(readFileSync(join(DEMO_MODEL, 'config.json'), 'utf8'))
  const path = write('config.json', JSON.stringify({ ...config, vocab_size: 1000 }))
  using model = await initModel(path, { ...form, tokenizer })
  const how = { maxNewTokens: 6, temperature: 1.5, topP: 0.9, seed: 7, system: 'Be brief.', template: CHATML }
  const textsOf = async (options: object) => {
    const { rows } = await evaluate(model, { task: 'generate', data, details: true, score: () => 1, ...options })
    return rows.map(({ text }) => text)
  }
  const drawn = await textsOf(how)
  const alone = await Promise.all(data.map(({ prompt }) => generate(model, { prompt, ...how })))
  expect(drawn).toEqual(alone.map(({ text }) => text))
  expect(await textsOf({ ...how, seed: 8 })).not.toEqual(drawn)
  const schema = { type: 'object', properties: { sea: { type: 'boolean' } }, required: ['sea'] }
  for (const text of await textsOf({ schema, maxNewTokens: 40 })) expect(text).toMatch(/^\{"sea": ?(true|false)/)
  for (const text of await textsOf({ choices: ['sea', 'land'] })) expect(['sea', 'land']).toContain(text)
})

it.each<[Partial<EvaluateOptions>, string]>([
  [{ task: 'perplexity', score: undefined, temperature: 1 }, 'temperature belongs to the task exact-match or gsm8k'],
  [{ predictions: 'a.jsonl', choices: ['a'] }, 'choices does not go with predictions, whose texts are written already'],
  [{ tools: [{ name: 'f' }], template: 'none' }, 'Tools need a chat template, and none is in use'],
  [{ task: 'choices', score: 'letter', tools: [{ name: 'f' }], template: 'none' }, 'Tools need a chat template'],
  [{ templateOptions: { a: 1 }, template: 'none' }, 'Options of a template need a chat template'],
  [{ system: 'Be brief.', template: 'none' }, 'A system message (the option system) needs a chat template'],
])('%j is refused', async (options, message) => {
  await expect(evaluate(silent, { task: 'generate', data, score: () => 1, ...options })).rejects.toThrow(message)
})

it('an unknown option is told the options of the library', async () => {
  const failed = evaluate(silent, { task: 'generate', data, score: () => 1, schemas: {}, zzzz: 1 } as never)
  await expect(failed).rejects.toThrow('Unknown option schemas; did you mean schema?')
  const other = evaluate(silent, { task: 'generate', data, score: () => 1, zzzz: 1 } as never)
  const message = await other.catch((error: Error) => error.message)
  expect(message).toMatch(/^Unknown option zzzz; known: task, data/)
  expect(message).not.toMatch(/\b(json|device|config|quantise)\b/)
})

it('what cannot be scored is refused before anything is generated', async () => {
  const reads = [vi.spyOn(ForwardPasses.prototype, 'nextLogitsOf'), vi.spyOn(ForwardPasses.prototype, 'tokenLogProbs')]
  const refused = async (options: EvaluateOptions, message: RegExp | string) => {
    await expect(evaluate(silent, options)).rejects.toThrow(message)
    for (const read of reads) expect(read).not.toHaveBeenCalled()
  }
  await refused({ task: 'generate', data }, 'Missing score: the task generate needs a function that scores a text.')
  const score = () => 1
  await refused({ task: 'generate', data, score, scorer: 'a.mjs' }, 'A function as score does not go with scorer')
  await refused({ task: 'gsm8k', data, score }, 'A function as score belongs to the task generate, not to gsm8k.')
  await refused({ task: 'generate', data: [data[0]!, { other: 1 }], score }, /no form of rows has the columns other/)
  await refused(
    { task: 'generate', data, scorer: write('none.mjs', 'export const a = 1') },
    /Expected a function as the default export/,
  )
  await refused(
    { task: 'generate', data, scorer: write('bad.mjs', 'export default (') },
    /The scorer .*bad.mjs cannot be run/,
  )
  const late = [
    { question: 'a', answer: '#### 1' },
    { question: 'b', answer: 'two' },
  ]
  await refused({ task: 'gsm8k', data: late }, /row 2 .*: expected an answer that is a number, or ends in ####/)
  await refused(
    { task: 'math', data: [{ problem: 'a', solution: 'b' }] },
    /expected a solution with its answer in \\boxed/,
  )
  await refused(
    { task: 'mmlu', data: [{ question: 'a', choices: ['x', 'y'], answer: 0 }] },
    /this task needs the row's subject; name its column/,
  )
  const headline = [{ input: 'a', options: ['No', 'Yes'], gold_index: 0 }]
  await refused({ task: 'headline', data: headline }, /this task needs the row's subject/)
  const conversation = {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: '#### 1' },
    ],
  }
  const question = { question: 'a', answer: '#### 1' }
  await refused(
    { task: 'gsm8k', data: [question], shots: 1, shotsData: [conversation] },
    /a solved example needs a prompt, and the row is a conversation/,
  )
  await refused(
    { task: 'gsm8k', data: [conversation], shots: 1, shotsData: [question] },
    /solved examples can stand before a prompt only, and the row is a conversation/,
  )
  const pubmedqa = [{ question: 'a', choices: ['yes', 'no'], answer: 0 }]
  await refused({ task: 'pubmedqa', data: pubmedqa }, /this task needs the row's input/)
})

it('predictions need a text for each row, and no model', async () => {
  const score = ({ text }: { text: string }) => text.length
  const run = (predictions: string, limit?: number) =>
    evaluate(null, { task: 'generate', data, score, predictions, limit })
  await expect(run(texts('one.jsonl', 'a'))).rejects.toMatchObject({ code: 'unfit-predictions' })
  await expect(run(texts('one.jsonl', 'a'))).rejects.toThrow(
    'expected 2 texts, one for each row of the data, but received 1.',
  )
  expect(await run(texts('one.jsonl', 'a'), 1)).toMatchObject({ rows: 1, score: 1 })
  await expect(run(write('odd.jsonl', '{"completion":"a"}\n'))).rejects.toThrow(
    /odd.jsonl:1: expected a row with the column text/,
  )
  await expect(evaluate(null, { task: 'generate', data, score })).rejects.toThrow(/Missing a model/)
  const choices = { task: 'mmlu', data, predictions: join(folder, 'one.jsonl') } as const
  await expect(evaluate(null, choices)).rejects.toThrow(/predictions belongs to the task exact-match or gsm8k/)
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

it('a plain prompt ends the answer where the next question begins, and is cut where it leaves no room', async () => {
  const prompt = await tokenizer.encodeText('Question: 1 + 2?\nAnswer:')
  const reply = await tokenizer.encodeContinuation(' 3\n#### 3\n\nQuestion: 2 + 2?')
  using model = await loadScripted([{ prompt, reply }])
  const gsm8k = { task: 'gsm8k', data: [{ question: '1 + 2?', answer: '#### 3' }] } as const
  const { rows } = await evaluate(model, { ...gsm8k, data: [...gsm8k.data], details: true })
  expect(rows[0]).toMatchObject({ text: ' 3\n#### 3\n\n', extracted: '3', score: 1, strict: 1 })

  const warnings: string[] = []
  using small = await loadScripted([], { maxPositions: prompt.length + 2 })
  const read = vi.spyOn(ForwardPasses.prototype, 'nextLogitsOf')
  await evaluate(small, { ...gsm8k, data: [...gsm8k.data], maxNewTokens: 4, onWarning: (text) => warnings.push(text) })
  expect(read.mock.calls.map(([parts]) => parts.map(({ ids }) => ids.length))).toEqual([[prompt.length - 2]])
  expect(warnings).toEqual([
    `Prompts that do not fit the model's ${prompt.length + 2} positions lost their beginning (the longest has ${prompt.length} tokens).`,
  ])
})
