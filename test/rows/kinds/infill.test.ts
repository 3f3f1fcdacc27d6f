/** Fill-in-the-middle rows: the tokens of each family of code models, and a run from the command line. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadDataset } from '../../../lib/batches/dataset.js'
import { loadTokenizer } from '../../../lib/text/tokenizer.js'
import { mora, moraJson } from '../../cli/mora.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const temporary = useTemporaryFolder()
const demo = join(import.meta.dirname, '..', '..', '..', 'assets', 'demo-model')
const small = join(import.meta.dirname, '..', '..', 'golden', 'tokenizers', 'small-bpe')

const row = { prefix: 'The river ', suffix: ' the mill.', middle: 'runs past' }

/** Copies a model, some tokens of which get other names, and become added tokens. */
function withMarks(folder: string, marks: readonly string[]): string {
  const copy = join(temporary(), `model-${marks.length}-${marks[0]?.length}`)
  cpSync(folder, copy, { recursive: true })
  const path = join(copy, 'tokenizer.json')
  const read = JSON.parse(readFileSync(path, 'utf8'))
  const { added_tokens: added, model } = read
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const joined = new Set(model.merges.flat().flatMap((pair: string) => pair.split(' ')))
  const spare = Object.keys(model.vocab).filter(
    (token) => !joined.has(token) && model.vocab[token] > 10 && token.length > 1,
  )
  for (const [i, mark] of marks.entries()) {
    const token = spare[i]!
    added.push({ id: model.vocab[token], content: mark, ...flags })
    model.vocab[mark] = model.vocab[token]
    delete model.vocab[token]
    model.merges = model.merges.filter((pair: string | string[]) => [pair].flat().join('').replace(' ', '') !== token)
  }
  writeFileSync(path, JSON.stringify(read))
  return copy
}

test.each([
  ['Qwen2.5-Coder', ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>']],
  ['StarCoder', ['<fim_prefix>', '<fim_suffix>', '<fim_middle>']],
  ['SantaCoder', ['<fim-prefix>', '<fim-suffix>', '<fim-middle>']],
  ['DeepSeek-Coder', ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>']],
  ['CodeLlama', ['▁<PRE>', '▁<SUF>', '▁<MID>', '▁<EOT>']],
])('the middle is trained after the tokens of %s, with its end', async (_, marks) => {
  const tokenizer = (await loadTokenizer(withMarks(small, marks)))!
  const [prefix, suffix, middle, end = tokenizer.eosId!] = marks.map((mark) => tokenizer.idOf(mark)!)
  const rows = await loadDataset([row, { PREFIX: '', Suffix: '', middle: '', weight: 2 }], { tokenizer })
  const before = [
    tokenizer.bosId!,
    prefix!,
    ...(await tokenizer.encodeContinuation(row.prefix)),
    suffix!,
    ...(await tokenizer.encodeContinuation(row.suffix)),
    middle!,
  ]
  const trained = [...(await tokenizer.encodeContinuation(row.middle)), end]
  const [first, second] = [rows.row(0), rows.row(1)]
  expect([...first.documents[0]!.ids]).toEqual([...before, ...trained])
  expect([...first.documents[0]!.mask]).toEqual([...before.map(() => 0), ...trained.map(() => 1)])
  expect([...second.documents[0]!.ids]).toEqual([tokenizer.bosId, prefix, suffix, middle, end])
  expect(second.weight).toBe(2)
  expect(rows.parts[0]!.form).toBe('infill')
})

test('columns may have other names, and a long middle loses its end', async () => {
  const tokenizer = (await loadTokenizer(withMarks(small, ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'])))!
  const columns = { prefix: 'before', suffix: 'after', middle: 'gap' }
  const data = [{ before: row.prefix, after: row.suffix, gap: row.middle, text: 'another' }]
  const whole = await loadDataset([row], { tokenizer })
  const length = whole.rowLength(0)
  const named = await loadDataset(data, { tokenizer, columns, maxLength: length - 2 })
  expect(named.row(0).documents[0]!.ids).toEqual(whole.row(0).documents[0]!.ids.subarray(0, length - 2))
  expect(named.summary.cut.inside).toBe(1)
  await expect(loadDataset(data, { tokenizer, columns: { prefix: 'before', suffix: 'after' } })).rejects.toThrow(
    'columns names prefix, suffix, and this needs text, messages, input_ids, or prompt and completion, or prefix, suffix and middle.',
  )
  await expect(loadDataset([{ ...row, middle: ['a'] }], { tokenizer })).rejects.toThrow(
    'row 1 of the rows given: middle: expected a text or a number',
  )
})

test('columns of a conversation are refused beside them', async () => {
  const tokenizer = await loadTokenizer(small)
  await expect(loadDataset([{ ...row, system: 'Be brief.' }], { tokenizer })).rejects.toThrow(
    'row 1 of the rows given: a system message, a history, tools and options of a template have no place beside prefix, suffix and middle',
  )
})

test('a model without tokens for the three is refused in one sentence', async () => {
  const tokenizer = await loadTokenizer(small)
  await expect(loadDataset([row], { tokenizer })).rejects.toThrow(
    "row 1 of the rows given: prefix, suffix and middle need a model with tokens for them, such as <|fim_prefix|>, and this model's tokenizer has none; join them as a text, or train a code model.",
  )
})

test('mora train and mora inspect take them, with a chat template too', async () => {
  const model = withMarks(demo, ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'])
  const data = join(temporary(), 'code.jsonl')
  writeFileSync(data, `${JSON.stringify({ prefix: 'a ', suffix: ' c', middle: 'b' })}\n`.repeat(4))
  const { stdout } = await mora('inspect', '--model', model, '--data', data, '--limit', '1')
  expect(stdout).toMatch(
    /row 1: \d+ tokens, \d+ trained\n<\|fim_prefix\|>a <\|fim_suffix\|> c<\|fim_middle\|>⟦b<end>⟧\n/,
  )
  expect(stdout).toMatch(/4 rows as infill \(prefix, suffix, middle\)/)
  const output = join(temporary(), 'out')
  const { json } = await moraJson(
    'train',
    '--model',
    model,
    '--data',
    data,
    '--output',
    output,
    '--max-steps',
    '2',
    '--batch-size',
    '2',
    '--rank',
    '2',
  )
  expect(json).toMatchObject({ steps: 2 })
})
