/** Rows on the command line: `mora inspect --objective` shows them as an objective will, and `mora generate --prompts` continues them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { mora, moraJson } from './mora.js'

const temporary = useTemporaryFolder()
const model = join(import.meta.dirname, '..', '..', 'assets', 'demo-model')

const inspect = <Result>(run: (...argv: string[]) => Promise<Result>, objective: string, rows: readonly object[]) => {
  const data = join(temporary(), `${objective}.jsonl`)
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const room = objective === 'grpo' ? ['--max-new-tokens', '8'] : []
  return run('inspect', '--model', model, '--data', data, '--objective', objective, '--template', 'none', ...room)
}

const pair = { prompt: 'Who?', chosen: ' Ada.', rejected: ' Eve.' }

test.each<[objective: string, row: object, shown: RegExp]>([
  [
    'dpo',
    { ...pair, margin: 0.5 },
    /^row 1, chosen, margin 0\.5: \d+ tokens, \d+ trained\nWho\?⟦ Ada\..*⟧\n\nrow 1, rejected, margin 0\.5: .*\nWho\?⟦ Eve\./,
  ],
  ['reward', pair, /^row 1, chosen: .*\nWho\?⟦ Ada\..*⟧\n\nrow 1, rejected: /],
  ['kto', { prompt: 'Who?', completion: ' Ada.', label: true }, /^row 1, good: .*\nWho\?⟦ Ada\./],
  ['kto', { prompt: 'Who?', completion: ' Ada.', label: false }, /^row 1, bad: .*\nWho\?⟦ Ada\./],
  ['classify', { text: 'Who?', label: 'ask' }, /^row 1, text, label ask: \d+ tokens\nWho\?\n/],
  [
    'embed',
    { anchor: 'a', positive: 'b', negatives: ['c', 'd'] },
    /^row 1, anchor: \d+ tokens\na\n\nrow 1, positive: \d+ tokens\nb\n\nrow 1, negative: \d+ tokens\nc\n\nrow 1, negative: \d+ tokens\nd\n/,
  ],
  ['grpo', { prompt: 'Who?', answer: 'Ada' }, /^row 1, prompt: \d+ tokens\nWho\?\n/],
  ['sft', { prompt: 'Who?', completion: ' Ada.' }, /^row 1: \d+ tokens, \d+ trained\nWho\?⟦ Ada\./],
])('%s: %j', async (objective, row, shown) => {
  const { stdout } = await inspect(mora, objective, [row])
  expect(stdout).toMatch(shown)
  expect(stdout.includes('legend')).toBe(!['classify', 'embed', 'grpo'].includes(objective))
})

test('as JSON, rows have documents, which have names, and a label', async () => {
  const { json } = await inspect(moraJson, 'classify', [
    { text: 'Who?', label: 'ask' },
    { text: 'Ada.', label: 'say' },
  ])
  expect(json.rows).toMatchObject([
    { documents: [{ name: 'text', text: 'Who?' }], label: 'ask' },
    { documents: [{ name: 'text', text: 'Ada.' }], label: 'say' },
  ])
  expect(json.summary).toMatchObject({ rows: 2 })
  const { json: prompts } = await inspect(moraJson, 'grpo', [{ prompt: 'Who?' }])
  expect(prompts).toMatchObject({ rows: [{ documents: [{ name: 'prompt', text: 'Who?' }] }], summary: null })
})

test.each<[objective: string, row: object, refusal: RegExp]>([
  ['sft', pair, /preferences, which train takes with --objective dpo/],
  ['sft', { sentence: 'a', label: 1 }, /train takes them with --objective classify/],
  [
    'dpo',
    { prompt: 'a', good_answer: 'b', bad_answer: 'c' },
    /--columns prompt=prompt,chosen=good_answer,rejected=bad_answer/,
  ],
])('what does not fit %s is refused: %j', async (objective, row, refusal) => {
  const { stderr, exitCode } = await inspect(mora, objective, [row])
  expect(exitCode).not.toBe(0)
  expect(stderr).toMatch(refusal)
})

test('an objective is of rows', async () => {
  const { exitCode, json } = await moraJson('inspect', '--model', model, '--objective', 'dpo')
  expect(exitCode).toBe(2)
  expect(json.error.message).toBe('--objective is about rows: give --data.')
})

test('mora generate --prompts continues ids as they are, also lists of them', async () => {
  const ids = (await inspect(moraJson, 'sft', [{ text: 'Who?' }])).json.rows[0].ids as number[]
  const prompts = join(temporary(), 'prompts.jsonl')
  const rows = [{ input_ids: ids }, ids, { input_ids: [...ids, 5], labels: [...ids.map(() => -100), 5] }]
  writeFileSync(prompts, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const { stdout } = await mora('generate', '--model', model, '--prompts', prompts, '--max-new-tokens', '3')
  const [first, ...others] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).ids as number[])
  expect(first).toHaveLength(3)
  expect(others).toEqual([first, first])
})
