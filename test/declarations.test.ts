/** The package's types in a user's compiler: resolved by name, strict, with declarations checked too. */
import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { drawn } from './drawn.js'
import { useTemporaryFolder } from './io/temporary.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = useTemporaryFolder()

const use = `
import {
  AdamW, answerReward, DataLoader, type EngineRequest, type EvalResult, evaluate, grpo, loadDataset, loadModel, Model, mora, type JudgedAnswer,
  type Objective, randomStream, readRows, type SampleContext, type StepRow, tokeniseRow, train, type TrainOptions, UsageError,
} from 'node-mora'
import * as adapters from 'node-mora/adapters'
const options: TrainOptions = { data: 'rows.jsonl', dtype: 'float32' }
// @ts-expect-error: no such dtype
const wrong: TrainOptions = { data: 'rows.jsonl', dtype: 'float8' }
export const run = async () => [train(await loadModel('model'), options), mora({ rank: 8 }), wrong]
export const count = (model: Model) => model.trainableParameters().length
export const isUsage = (error: unknown): error is UsageError => error instanceof UsageError
export class MyLoader extends DataLoader {}
// Without casts: rows of an interface, values, gradients and the optimizer's state.
interface Question { prompt: string; completion: string }
export const load = (rows: Question[], { tokenizer }: Model) => [new DataLoader(rows), tokeniseRow(rows[0]!, { tokenizer })]
export async function values(model: Model): Promise<(Float32Array | undefined)[]> {
  const { parameter } = model.trainableParameters()[0]!
  const { tensors } = new AdamW([parameter]).state()
  return [await parameter.data(), await parameter.grad?.data(), await tensors[0]!.tensor.data()]
}
// Rows by details, and options of a method of one's own, with defaults.
export const entries = async (model: Model): Promise<(string | undefined)[]> =>
  (await evaluate(model, { task: 'gsm8k', data: 'rows.jsonl', details: true })).rows.map(({ text }) => text)
export const number = async (model: Model): Promise<number> =>
  (await evaluate(model, { task: 'gsm8k', data: 'rows.jsonl' })).rows
// Figures by the task's measures.
export const figures = async (model: Model): Promise<number[]> => {
  const { perCharacter, perToken } = await evaluate(model, { task: 'openbookqa', data: 'rows.jsonl' })
  const { meanOfSubjects, accuracyBySubject } = await evaluate(model, { task: 'mmlu', data: 'rows.jsonl' })
  const letters: EvalResult<'choices'> = await evaluate(model, { task: 'choices', data: 'rows.jsonl', score: 'text' })
  const { perplexity } = await evaluate(model, { task: 'perplexity', data: 'rows.jsonl' })
  // @ts-expect-error: a figure of other tasks
  await evaluate(model, { task: 'mmlu', data: 'rows.jsonl' }).then(({ perCharacter }) => perCharacter)
  return [perCharacter, perToken, meanOfSubjects, accuracyBySubject.algebra!, letters.perByte ?? 0, perplexity]
}
const fields = { gain: adapters.optionalReal('gain', { above: 0 }) }
interface GainConfig extends adapters.AdapterConfigBase { readonly gain: number }
declare const parts: Omit<adapters.AdapterMethod<GainConfig, typeof fields>, 'config'>
const method: adapters.AdapterMethod<GainConfig, typeof fields> = {
  ...parts,
  config: (options) => ({ method: 'gain', ...adapters.checkedConfig(fields, options, { gain: 1 }) }),
}
declare const plain: adapters.AdapterMethod<GainConfig>
export const own = (model: Model) => train(model, { method, gain: 2, data: 'rows.jsonl' })
// @ts-expect-error: no such option of the method
export const typo = (model: Model) => train(model, { method, gian: 2, data: 'rows.jsonl' })
// @ts-expect-error: a method whose type names no options
export const unnamed = (model: Model) => train(model, { method: plain, gian: 2, data: 'rows.jsonl' })
// Functions of rows get the type of the rows that the call gives.
interface Ticket { title: string; votes: number }
declare const tickets: Ticket[]
declare function stream(): AsyncGenerator<Ticket>
declare const untyped: any
const votes = { map: ({ title, votes }: Ticket) => ({ prompt: title, votes }), filter: ({ votes }: { votes: number }) => votes > 0 }
export const typedRows = (model: Model) => [
  train(model, { filter: ({ votes, title }) => votes > title.length, data: tickets }),
  train(model, { data: stream(), map: async ({ title }) => ({ prompt: title, size: 1 }), filter: ({ size }) => size > 0 }),
  train(model, { data: [{ data: tickets, weight: 1 }, { rows: stream(), weight: 2 }], map: ({ votes }) => votes.toFixed(), method: 'lora' }),
  train(model, { data: [tickets, stream()], ...votes }),
  train(model, { method, gain: 2, data: tickets, filter: ({ votes }) => votes > 0 }),
  train(model, { data: 'rows.jsonl', map: ({ title }): unknown => ({ prompt: title }), filter: ({ prompt }) => prompt !== '' }),
  train(model, { data: ['rows.jsonl', { path: 'a.csv', weight: 2 }], filter: ({ prompt }) => prompt !== '' }),
  train(model, { data: untyped, filter: ({ prompt }) => prompt !== '' }),
  train(model, { data: readRows('a.csv'), filter: ({ prompt }) => prompt !== '' }),
  loadDataset(tickets, { tokenizer: model.tokenizer, map: ({ title }) => ({ prompt: title }), filter: ({ prompt }) => prompt.length > 1 }),
  evaluate(model, { task: 'generate', data: tickets, score: ({ row, text }) => Number(text === row.votes.toFixed()), details: true }),
  evaluate(model, { task: 'generate', data: 'a.csv', score: ({ row, text }) => Number(text === row.votes) }),
  grpo({ prompts: tickets, rewards: [answerReward(), ({ row }) => row.votes.toFixed().length] }),
  grpo<Ticket>({ rewards: { answer: answerReward(), votes: ({ row }) => row.votes }, environment: () => ({ reset: ({ title }) => title }) }),
  grpo({ rewards: [answerReward(), ({ row }) => Number(row.votes), ({ ids }: JudgedAnswer) => -ids.length] }),
]
export const wrongRows = (model: Model) => [
  // @ts-expect-error: no such column
  train(model, { data: tickets, filter: ({ vote }) => vote > 0 }),
  // @ts-expect-error: a column of another type
  train(model, { data: tickets, filter: (row: { votes: string }) => row.votes !== '' }),
  // @ts-expect-error: a column that map leaves out
  train(model, { data: tickets, map: ({ title }) => ({ prompt: title }), filter: ({ votes }) => votes > 0 }),
  // @ts-expect-error: a column of a file is of an unknown type
  train(model, { data: 'rows.jsonl', filter: ({ votes }) => votes > 0 }),
  // @ts-expect-error: no such column
  evaluate(model, { task: 'generate', data: tickets, score: ({ row }) => row.vote }),
  // @ts-expect-error: no such column
  grpo({ prompts: tickets, rewards: [({ row }) => row.vote] }),
  // @ts-expect-error: no such column
  grpo<Ticket>({ rewards: [({ row }) => row.vote] }),
]
// An objective of one's own that samples completions.
async function sample(rows: readonly StepRow[], { openEngine, stopIds, seed, draws }: SampleContext) {
  await using engine = openEngine(rows.map(() => 64))
  const sampled: StepRow[] = []
  for (const { row, documents: [prompt] } of rows) {
    const random = randomStream(seed, 'answer', draws, row)
    const request: EngineRequest = { ids: [...prompt!.ids], maxNewTokens: 8, sampling: { temperature: 1, topK: 0, topP: 1 }, stopIds, random }
    const ids = [...request.ids]
    for await (const { id } of engine.write(request)) ids.push(id)
    const mask = ids.map((_, i) => Number(i >= request.ids.length))
    sampled.push({ row, documents: [{ ids: Int32Array.from(ids), mask: Uint8Array.from(mask) }] })
  }
  return { rows: sampled, rollouts: new Map<number, { advantage: number }>(), metrics: {}, records: [] }
}
export const sampling = (loss: Objective['loss']): Objective => ({ name: 'own', sample, loss })
// @ts-expect-error: the library's own
export const internal = (model: Model) => model.holdForTraining()
`

const required = `
import library = require('node-mora')
import { mora } from 'node-mora/ai'
export const loader: library.DataLoader | null = null
export const model = library.loadModel('model')
export const chat = async () => mora(await model, { adapter: 'support', minP: 0.1 }).specificationVersion
// @ts-expect-error: no such setting
export const typo = async () => mora(await model, { minp: 0.1 })
`
/** Types that '@ai-sdk/provider' needs and does not bring. */
const jsonSchema = 'export type JSONSchema7 = object\nexport type JSONSchema7Definition = JSONSchema7 | boolean\n'

const resolutions: [string, string, string[]][] = [
  ['node16', 'node16', ['use.mts', 'use.cts']],
  ['bundler', 'preserve', ['use.ts', 'required.cts']],
]
/** TypeScript 7 and its predecessor. */
const compilers = ['typescript-7', 'typescript'].flatMap((compiler) =>
  resolutions.map((resolution) => [compiler, ...resolution] as const),
)
it.each(drawn('declarations', compilers, 1))(
  'resolve and compile by %s under %s',
  async (compiler, moduleResolution, module, files) => {
    const compilerOptions = {
      moduleResolution,
      module,
      target: 'es2022',
      lib: ['es2022', 'esnext.disposable'],
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules', '@types')],
      paths: { 'json-schema': [join(folder(), 'json-schema.d.ts')] },
    }
    mkdirSync(join(folder(), 'node_modules'))
    symlinkSync(root, join(folder(), 'node_modules', 'node-mora'))
    writeFileSync(join(folder(), 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
    for (const file of files.filter((name) => name.startsWith('use'))) writeFileSync(join(folder(), file), use)
    writeFileSync(join(folder(), 'required.cts'), required)
    writeFileSync(join(folder(), 'json-schema.d.ts'), jsonSchema)
    const tsc = join(root, 'node_modules', compiler, 'bin', 'tsc')
    const compiled = promisify(execFile)(process.execPath, [tsc, '-p', folder()])
    const said = await compiled.then(
      () => '',
      (error: { stdout: string }) => error.stdout,
    )
    expect(said).toBe('')
  },
)
