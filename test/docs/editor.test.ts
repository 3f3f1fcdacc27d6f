/** What an editor shows for the library's options: the built declarations, through TypeScript's language service. */
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import {
  EvalSchema,
  GenerateSchema,
  ImatrixSchema,
  optionDefault,
  optionFacts,
  TrainSchema,
} from '../../lib/options/index.js'
import type { OptionsSchema } from '../../lib/schema/option-facts.js'
import { root } from './blocks.js'

const path = join(root, 'dist', 'example.mts')
const code = `import { evaluate, generate, loadModel, initModel, Chat, DataLoader, mora, type Model, mergeModel, type TrainOptions, train } from './index.js'
declare const model: Model
train(model, { data: 'rows.jsonl', rank: 4, mergeEvery: 5, memory: '2GiB', template: 'none', learningRate: 1e-4 })
void evaluate(model, { task: 'perplexity', data: ['a.txt'], window: 8 })
void generate(model, { prompt: 'Hello', topP: 0.9 })
void mergeModel({ model: 'm', adapter: 'a', output: 'o', format: 'gguf', threads: 2, offline: true })
train(model, { rank: 4 })
void evaluate(model, { data: 'a.txt' })
void evaluate(model, { task: 'perplexity' })
void mergeModel({ model: 'm', adapter: 'a' })
train(model, { data: 'rows.jsonl', profile: true })
train(model, { data: 'rows.jsonl', method: 'lora', oftBlocks: 3 })
train(model, { data: 'rows.jsonl', method: 'oft', oftBlocks: 3 })
void [loadModel('m', {}), initModel('c', {}), new Chat(model, {}), new DataLoader([], {}), model.addAdapter('a', mora({}))]
const options: TrainOptions = { data: 'rows.jsonl', method: 'dora', cycle: ['sharing'] }
`
const options: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  strict: true,
  exactOptionalPropertyTypes: true,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  skipLibCheck: true,
  noEmit: true,
}
const service = ts.createLanguageService({
  ...ts.sys,
  getCompilationSettings: () => options,
  getScriptFileNames: () => [path],
  getScriptVersion: () => '1',
  getScriptSnapshot: (name) => {
    const text = name === path ? code : ts.sys.readFile(name)
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
  },
  useCaseSensitiveFileNames: () => ts.sys.useCaseSensitiveFileNames,
  getCurrentDirectory: () => root,
  getDefaultLibFileName: ts.getDefaultLibFilePath,
})

function hover(text: string): string {
  const info = service.getQuickInfoAtPosition(path, code.indexOf(text))
  const tags = (info?.tags ?? []).map((tag) => `@${tag.name} ${ts.displayPartsToString(tag.text)}`)
  return [ts.displayPartsToString(info?.displayParts), ts.displayPartsToString(info?.documentation), ...tags].join('\n')
}

it('an editor shows the type, the meaning, the range and the default of an option', () => {
  expect(hover('rank:')).toMatch(
    /rank\?: number \| undefined\nParameter budget: .*\n\nA whole number of at least 1\.\n\nDefault: 8\./,
  )
  expect(hover('mergeEvery:')).toMatch(
    /Merge the adapter every N steps.*\n\nA whole number of at least 1\.\n\nDefault: never\./,
  )
  expect(hover('template:')).toMatch(/auto: the model's own.*\n@default 'auto'/s)
  expect(hover('learningRate:')).toMatch(/number \| LearningRate.*\nThe peak rate/)
  expect(hover('memory:')).toContain('A number of bytes, or a size as 2GiB or 800MB.')
  expect(hover('window:')).toContain('Default: `maxLength`.')
  expect(hover('topP:')).toMatch(/Keep the likeliest tokens.*A number above 0 up to 1\.\n@default 1$/s)
  expect(hover('format:')).toMatch(/'?gguf'?.*safetensors/s)
  for (const name of ['threads:', 'offline:']) expect(hover(name).split('\n')[1]).not.toBe('')
})

it.each([
  [
    'train(model, { data',
    'train<NoFields, "rows.jsonl", AnyRow>(model: Model, options: TrainOptions<NoFields, AnyRow, AnyRow> & {',
  ],
  [
    'evaluate(model',
    'evaluate<"perplexity", string[], false>(model: LoadedModel | null, input: EvaluateOptions<"perplexity", AnyRow> & {',
  ],
  ['generate(model', 'generate(model: LoadedModel, call: GenerateOptions): Promise<GenerateResult>'],
  ['mergeModel({', 'mergeModel(options: MergeModelOptions): Promise<MergeModelResult>'],
  ['loadModel(', 'loadModel(model: string, options?: LoadOptions): Promise<Model>'],
  ['initModel(', 'initModel(configPath: string, given?: InitModelOptions): Promise<Model>'],
  ['Chat(', 'Chat(model: LoadedModel, call?: ChatOptions): Chat'],
  ['addAdapter(', 'addAdapter(name: string, config: AdapterConfigBase, options?: AddAdapterOptions): Promise<void>'],
  ['mora({', 'mora(options?: Partial<Omit<MoraConfig, "method">>): MoraConfig'],
])('an editor shows one name for the options of %s', (call, signature) => {
  expect(hover(call)).toContain(signature)
})

it('the types require what is required at run time, and leave out options of the command line alone', () => {
  const wrong = service.getSemanticDiagnostics(path)
  const lineOf = ({ start }: ts.Diagnostic) => code.slice(0, start).split('\n').length
  expect(wrong.map((one) => [lineOf(one), ts.flattenDiagnosticMessageText(one.messageText, '\n')])).toEqual([
    [7, expect.stringContaining("'data' is missing")],
    [8, expect.stringContaining("'task' is missing")],
    [9, expect.stringContaining("'data' is missing")],
    [10, expect.stringContaining("'output' is missing")],
    [11, expect.stringContaining("'profile' does not exist")],
    [
      12,
      expect.stringContaining("'oftBlocks' does not exist in type 'RunOptions<AnyRow, AnyRow> & { method: \"lora\"; }"),
    ],
    [15, expect.stringContaining("'cycle' does not exist")],
  ])
})

/** Options that the library describes in its own words, since they take more than on the command line. */
const ownWords = ['method', 'learningRate', 'objective', 'task', 'score', 'base', 'prompts']

it.each<[string, OptionsSchema]>([
  ['TrainOptions', TrainSchema],
  ['EvaluateOptions', EvalSchema],
  ['GenerateOptions', GenerateSchema],
  ['ImportanceOptions', ImatrixSchema],
])('every option of %s is described in its declaration', (name, schema) => {
  const program = service.getProgram()!
  const checker = program.getTypeChecker()
  const index = checker.getSymbolAtLocation(program.getSourceFile(join(root, 'dist', 'index.d.ts'))!)!
  const found = checker.getExportsOfModule(index).find((symbol) => symbol.name === name)!
  const type = checker.getDeclaredTypeOfSymbol(checker.getAliasedSymbol(found))
  const forms = type.isUnion() ? type.types : [type]
  for (const [key, option] of Object.entries(schema.shape)) {
    const facts = optionFacts(option)
    const { description, defaultText, only } = { ...facts, ...facts.library }
    const property = forms.map((form) => form.getProperty(key)).find((one) => one !== undefined)
    if (only !== undefined && !ownWords.includes(key)) {
      expect(property, key).toBeUndefined()
      continue
    }
    expect(checker.getTypeOfSymbol(property!).flags & ts.TypeFlags.Any, key).toBe(0)
    const text = ts.displayPartsToString(property!.getDocumentationComment(checker))
    expect(text, key).toMatch(/^\S.*\./)
    expect(text, key).not.toMatch(/--|with commas|YAML/)
    if (ownWords.includes(key)) continue
    expect(text.toLowerCase(), key).toContain(description.split('--')[0]!.toLowerCase())
    const fallback = optionDefault(option)
    const tag = ts.displayPartsToString(property!.getJsDocTags().find((one) => one.name === 'default')?.text)
    if (defaultText !== undefined) expect(text, key).toContain(`Default: ${defaultText.split('--')[0]}`)
    else
      expect(tag, key).toBe(
        fallback === undefined ? '' : typeof fallback === 'string' ? `'${fallback}'` : `${fallback}`,
      )
  }
})
