/** Rows of answers: pairs with their prompts, also implied ones, and answers that are judged. */
import { describe, expect, test } from 'vitest'
import { loadDataset, tokeniseRow } from '../../lib/batches/dataset.js'
import { RowReading } from '../../lib/rows/reading.js'

const record = (value: unknown) => ({ value, where: 'rows.jsonl:3' })
const pair = (value: unknown, columns?: Record<string, string>) =>
  new RowReading({ rows: 'pairs', ...(columns && { columns }) }).wanted(record(value))
const judged = (value: unknown) => new RowReading({ rows: 'judged' }).wanted(record(value))

const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })
const given = (content: string) => ({ ...assistant(content), weight: 0 })
const compared = (...answers: object[]) => ({ kind: 'compared', examples: [answers] })
const answers = ['a', 'b'].map((completion) => ({ kind: 'completion', prompt: 'q', completion }))
const texts = compared(...answers)
const talks = (...answers: object[][]) =>
  compared(...answers.map((messages) => expect.objectContaining({ kind: 'messages', messages })))

describe('pairs', () => {
  test.each([
    [{ prompt: 'q', chosen: 'a', rejected: 'b', score_chosen: 3 }],
    [{ question: 'q', chosen: 'a', rejected: 'b', system: '' }],
    [{ instruction: 'q', input: '', chosen: 'a', rejected: 'b' }],
  ])('of texts: %j', (value) => expect(pair(value)).toEqual(texts))

  test('by named columns', () => {
    expect(pair({ q: 'q', a: 'a', b: 'b' }, { prompt: 'q', chosen: 'a', rejected: 'b' })).toEqual(texts)
  })

  const both = talks([user('q'), assistant('a')], [user('q'), assistant('b')])
  test.each([
    [{ prompt: [user('q')], chosen: [assistant('a')], rejected: [assistant('b')] }],
    [{ chosen: [user('q'), assistant('a')], rejected: [user('q'), assistant('b')] }],
    [{ prompt: 'q', chosen: [user('q'), assistant('a')], rejected: [user('q'), assistant('b')] }],
    [{ prompt: 'q', chosen: [assistant('a')], rejected: [assistant('b')] }],
    [
      {
        conversations: [{ from: 'human', value: 'q' }],
        chosen: { from: 'gpt', value: 'a' },
        rejected: { from: 'gpt', value: 'b' },
      },
    ],
    [
      {
        input: { messages: [user('q')] },
        preferred_output: [assistant('a')],
        non_preferred_output: [assistant('b')],
      },
    ],
    [{ messages: [user('q'), assistant('a')], rejected_messages: [user('q'), assistant('b')] }],
  ])('of messages: %j', (value) => expect(pair(value)).toEqual(both))

  test('with a system message, tools, and answers of the prompt that are not trained', () => {
    const prompt = [user('q'), assistant('x'), user('r')]
    const value = { system: 's', prompt, chosen: 'a', rejected: 'b', tools: [{ type: 'function' }] }
    const opening = [{ role: 'system', content: 's' }, user('q'), given('x'), user('r')]
    expect(pair(value)).toEqual(talks([...opening, assistant('a')], [...opening, assistant('b')]))
    expect(pair(value)).toMatchObject({ examples: [[{ tools: [{ type: 'function' }] }, {}]] })
  })

  test('whose prompt is what both begin with, without half a word', () => {
    const start = '\n\nHuman: Why?\n\nAssistant:'
    expect(pair({ chosen: `${start} Because.`, rejected: `${start} Be quiet.` })).toEqual(
      compared(
        ...[' Because.', ' Be quiet.'].map((completion) => ({
          kind: 'completion',
          prompt: start,
          completion,
          isText: true,
        })),
      ),
    )
    const talk = (answer: string) => [user('q'), assistant('x'), user('r'), assistant(answer)]
    const opening = [user('q'), given('x'), user('r')]
    expect(pair({ chosen: talk('a'), rejected: talk('b') })).toEqual(
      talks([...opening, assistant('a')], [...opening, assistant('b')]),
    )
  })

  test.each([
    [{ prompt: 'q', completion: 'a' }, /no form of rows has the columns prompt, completion; .*chosen: 'COLUMN'/],
    [{ prompt: 'q', rejected: 'a' }, /no form of rows has the columns prompt, rejected/],
    [{ chosen: 'a b', rejected: 'c d' }, /chosen and rejected have no beginning in common/],
    [{ chosen: [user('q'), assistant('a')], rejected: [user('r'), assistant('a')] }, /no beginning in common/],
    [{ prompt: 'q', chosen: 3, rejected: true }, /rejected: expected a text or a number but received true/],
    [{ prompt_ids: [1], chosen_ids: [2.5], rejected_ids: [3] }, /chosen_ids/],
    [{ prompt: 'q', chosen: 'a', rejected: 'b', images: ['x'] }, /the column "images"/],
  ])('are refused: %j', (value, message) => expect(() => pair(value)).toThrow(message))
})

describe('judged answers', () => {
  test.each([
    [{ prompt: 'q', completion: 'a', label: true }, true],
    [{ prompt: 'q', completion: 'a', label: 0 }, false],
    [{ instruction: 'q', input: '', output: 'a', kto_tag: false }, false],
  ])('of texts: %j', (value, isGood) =>
    expect(judged(value)).toEqual({ ...compared(answers[0]!), label: Number(isGood) }),
  )

  test('at the end of a conversation', () => {
    const value = { messages: [user('q'), assistant('x'), user('r'), assistant('a')], label: true }
    expect(judged(value)).toMatchObject(talks([user('q'), given('x'), user('r'), assistant('a')]))
  })

  test('need true or false', () => {
    expect(() => judged({ prompt: 'q', completion: 'a', label: 'good' })).toThrow(
      'label: expected true or false but received "good"',
    )
  })
})

describe('pairs of tokens', () => {
  const rows = 'pairs'
  const ids = (chosen: number[], rejected: number[]) => ({
    prompt_ids: [1, 5, 6],
    chosen_ids: chosen,
    rejected_ids: rejected,
  })
  const options = { tokenizer: null, rows } as const

  test('are two documents of one row, each with its prompt', async () => {
    const { documents, length } = await tokeniseRow(ids([7, 2], [8, 9, 2]), options)
    expect(documents.map(({ ids }) => [...ids])).toEqual([
      [1, 5, 6, 7, 2],
      [1, 5, 6, 8, 9, 2],
    ])
    expect(documents.map(({ mask }) => [...mask].slice(1))).toEqual([
      [0, 0, 1, 1],
      [0, 0, 1, 1, 1],
    ])
    expect(length).toBe(6)
    const data = await loadDataset([ids([7, 2], [8, 9, 2]), ids([3], [4])], options)
    expect([data.length, data.rowLength(0), data.summary.targetTokens]).toEqual([2, 11, 7])
    expect(data.row(1).documents.map((one) => [...one.ids])).toEqual([
      [1, 5, 6, 3],
      [1, 5, 6, 4],
    ])
  })

  test('that are equal, empty, or past the limit are left out, and said', async () => {
    const notices: string[] = []
    const all = [ids([7, 2], [8, 2]), ids([7, 2], [7, 2]), ids([], [7, 2]), ids([7, 8, 9, 2], [7, 8, 9, 3])]
    const data = await loadDataset(all, { ...options, maxLength: 6, onWarning: (note) => notices.push(note) })
    expect(data.length).toBe(1)
    expect(notices.join('\n')).toMatch(/3 rows in which nothing is trained were left out/)
    const none = await tokeniseRow(ids([7, 2], [8, 2]), { ...options, maxLength: 3 })
    expect(none.documents).toEqual([])
    expect(none.cut).toEqual({ questions: 1 })
    await expect(tokeniseRow(ids([7, 2], [8, 2]), { ...options, maxLength: 4, longRows: 'error' })).rejects.toThrow(
      'more than maxLength 4',
    )
    const cut = await tokeniseRow(ids([7, 2], [8, 2]), { ...options, maxLength: 4 })
    expect(cut.documents.map((one) => [...one.ids])).toEqual([
      [1, 5, 6, 7],
      [1, 5, 6, 8],
    ])
  })
})
