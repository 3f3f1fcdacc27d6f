/** The package's types in a user's compiler: resolved by name, strict, with declarations checked too. */
import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { useTemporaryFolder } from './io/temporary.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = useTemporaryFolder()

const use = `
import { AdamW, DataLoader, evaluate, loadModel, Model, mora, tokeniseRow, train, type TrainOptions, UsageError } from 'node-mora'
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
// @ts-expect-error: the library's own
export const internal = (model: Model) => model.holdForTraining()
`

it.each([
  ['node16', 'node16', ['use.mts', 'use.cts']],
  ['bundler', 'preserve', ['use.ts', 'required.cts']],
])('resolve and compile under %s', async (moduleResolution, module, files) => {
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
  }
  mkdirSync(join(folder(), 'node_modules'))
  symlinkSync(root, join(folder(), 'node_modules', 'node-mora'))
  writeFileSync(join(folder(), 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  for (const file of files.filter((name) => name.startsWith('use'))) writeFileSync(join(folder(), file), use)
  const required = `import library = require('node-mora')\nexport const loader: library.DataLoader | null = null\n`
  writeFileSync(join(folder(), 'required.cts'), `${required}export const model = library.loadModel('model')\n`)
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = promisify(execFile)(process.execPath, [compiler, '-p', folder()])
  const said = await compiled.then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  expect(said).toBe('')
})
