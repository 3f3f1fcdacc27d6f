import { expect, test } from 'vitest'
import { z } from 'zod'
import { answerReward, jsonReward, lengthReward, regexReward, tagsReward } from '../../lib/eval/rewards.js'
import type { JudgedAnswer, Reward } from '../../lib/objectives/rewards.js'

const answer = (completion: string, more: Partial<JudgedAnswer> = {}): JudgedAnswer => ({
  ...{ prompt: '', completion, row: {}, messages: [], ids: [], hasEnded: true, environment: undefined },
  signal: undefined,
  ...more,
})
const schema = z.strictObject({ a: z.int() })

test.each<[string, Reward, string, number]>([
  ['regex', regexReward(/^yes$/gi), 'Yes', 1],
  ['regex', regexReward(/^yes$/), 'yes, sir', 0],
  ['json', jsonReward(schema), '{"a": 1}', 1],
  ['json', jsonReward(schema), ' {"a": 1}\n', 1],
  ['json', jsonReward(schema), '{"a": 1.5}', 0],
  ['json', jsonReward(schema), '```json\n{"a": 1}\n```', 0],
  ['json', jsonReward({ type: 'object', required: ['a'], properties: { a: { type: 'integer' } } }), '{"a": 1}', 1],
  ['json', jsonReward({ type: 'object', required: ['a'] }), '{}', 0],
  ['format', tagsReward('think', 'answer'), '<think>so</think>\n<answer>4</answer>', 1],
  ['format', tagsReward('think', 'answer'), '<think>so</think>', 0],
  ['format', tagsReward('think'), '<think> </think>', 0],
  ['format', tagsReward('a'), '<a>1</a><a>2</a>', 0],
])('%s of %o', (name, reward, completion, value) => {
  expect(reward.name).toBe(name)
  expect(reward(answer(completion))).toBe(value)
  // The same again: nothing is left of the first call.
  expect(reward(answer(completion))).toBe(value)
})

test.each([
  ['The answer is 1,234.', '1234', 1],
  ['So #### 5', 'worked out #### 5', 1],
  ['7', '7.0', 1],
  ['The answer is 8', '7', 0],
  ['', '7', 0],
])('the answer of %o is compared with %o', (completion, expected, value) => {
  expect(answerReward()(answer(completion, { row: { answer: expected } }))).toBe(value)
  expect(answerReward('result')(answer(completion, { row: { result: expected } }))).toBe(value)
})

test('length counts tokens past the limit', () => {
  const ids = new Array<number>(12).fill(1)
  expect(lengthReward(12)(answer('', { ids }))).toBe(-0)
  expect(lengthReward(8)(answer('', { ids }))).toBe(-0.5)
})

test.each([
  () => regexReward('a' as never),
  () => jsonReward(1 as never),
  () => jsonReward({ type: 'nothing' }),
  () => lengthReward(0),
  () => tagsReward('<a>'),
  () => tagsReward(),
])('wrong arguments are refused', (call) => {
  expect(call).toThrow(/^Expected/)
})
