import { describe, expect, it } from 'vitest'
import { speaking } from '../../lib/common/option-names.js'
import { ROW_FORMS } from '../../lib/rows/kinds/index.js'
import { related, relatedTexts } from '../../lib/rows/kinds/related.js'
import { type ReadingOptions, RowReading, SourceAccount } from '../../lib/rows/reading.js'

const record = (value: unknown) => ({ value, where: 'rows.jsonl:3' })
const train = (value: unknown, options?: ReadingOptions) => new RowReading(options).training(record(value))
const ask = (value: unknown, options?: ReadingOptions) => new RowReading(options).question(record(value))
const choose = (value: unknown, options?: ReadingOptions) => new RowReading(options).choices(record(value))

describe('columns that are not read', () => {
  it.each([
    [{ prompt: 'a', chosen: 'b', rejected: 'c' }, /the columns "chosen" and "rejected" make these rows preferences/],
    [{ messages: [{ role: 'user', content: 'a' }], chosen: 'b' }, /the column "chosen" makes these rows preferences/],
    [{ prompt: 'a', completion: 'b', label: false }, /the column "label" makes these rows answers judged good or bad/],
    [{ instruction: 'a', output: 'b', images: ['a.png'] }, /the column "images" makes these rows more than text/],
    [{ text: 'a', image: 'a.png' }, /the column "image" makes/],
    [{ question: 'a', choices: ['b', 'c'], answer: 0 }, /multiple-choice questions, which mora eval --task choices/],
    [{ question: 'a', A: 'b', B: 'c', C: 'd', D: 'e', answer: 'A' }, /the columns "A" and "B" and "C" and "D" make/],
    [{ question: 'a', options: ['b', 'c'], response: 'b' }, /the column "options" makes these rows multiple-choice/],
    [{ question: 'a', context: 'b', answer: 'c' }, /the column "context" makes these rows questions about a passage/],
  ])('are refused by name: %j', (value, message) => {
    expect(() => train(value)).toThrow(message)
    expect(() => train(value)).toThrow(/^rows\.jsonl:3: .*ignore (it|them) \(the option ignoreColumns: \[[\w', ]+\]\)/)
  })

  it('are accepted when they say nothing, or are ignored by name', () => {
    const row = { kind: 'completion', prompt: 'a', completion: 'b' }
    expect(train({ prompt: 'a', completion: 'b', images: [], image: null, label: 3, chosen: '' })).toEqual(row)
    expect(train({ prompt: 'a', completion: 'b', images: ['x'] }, { ignoreColumns: ['images'] })).toEqual(row)
    expect(train({ text: 'a', label: true, context: 'c' })).toEqual({ kind: 'text', text: 'a' })
    expect(train({ prompt: 'a', chosen: 'b', rejected: 'c' }, { columns: { prompt: 'prompt', completion: 'chosen' } }))
      .toEqual(row) // biome-ignore format: one expectation
  })

  it('are named if no row has them', () => {
    const reading = new RowReading({ ignoreColumns: ['images', 'nope', 'other'] })
    const pairs = reading.ofKind('pairs')
    reading.training(record({ prompt: 'a', completion: 'b', images: ['x'] }))
    pairs.wanted(record({ prompt: 'a', chosen: 'b', rejected: 'c', other: 1 }))
    expect(reading.ignoredNote).toBe('no row that was read has the column "nope", which ignoreColumns names.')
    expect(pairs.ignoredNote).toBe(reading.ignoredNote)
  })

  it('are told apart from those that are read, over all rows', () => {
    const account = new SourceAccount()
    const reading = new RowReading({ ignoreColumns: ['images'] })
    reading.training(record({ prompt: 'a', completion: 'b', answer: 'c', images: ['x'] }), account)
    reading.training(record({ instruction: 'a', output: 'b', input: null, id: 4 }), account)
    expect(account).toMatchObject({
      form: 'prompt-completion, alpaca',
      columns: ['prompt', 'completion', 'instruction', 'output'],
      ignored: ['answer', 'images', 'input', 'id'],
    })
  })
})

it.each([
  [{ text: 'a' }, { kind: 'text', text: 'a' }],
  [{ input_ids: [1, 2] }, { kind: 'tokenised', ids: [1, 2] }],
])('columns of a conversation beside a whole text are not read: %j', (whole, row) => {
  const account = new SourceAccount()
  const columns = { ...whole, system: 's', tools: [{ name: 'f' }], chat_template_kwargs: { x: 1 } }
  expect(new RowReading().training(record({ ...columns, weight: 2 }), account)).toMatchObject({ ...row, weight: 2 })
  expect(account).toMatchObject({ ignored: ['system', 'tools', 'chat_template_kwargs'] })
  const [part] = Object.keys(whole) as [string]
  expect(() => new RowReading({ columns: { [part]: part, system: 'system' } })).toThrow(
    `The option columns names system beside ${part}, which is trained as it stands: leave system out, or name prompt or messages.`,
  )
})

describe('the option columns', () => {
  it('names columns, also nested ones, and keeps those of a conversation', () => {
    const value = { meta: { q: 'a', turns: [{ text: 'b' }] }, system: 's', images: ['x'] }
    expect(train(value, { columns: { prompt: 'meta.q', completion: 'meta.turns.0.text' } })).toMatchObject({
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b' },
      ],
    })
    const withInput = { prompt: 'q', input: 'c', completion: 'a' }
    expect(train({ q: 'x', a: 'y' }, { columns: withInput })).toEqual({
      kind: 'completion',
      prompt: 'x',
      completion: 'y',
    })
    expect(train({ q: 'x', a: 'y', c: 'z' }, { columns: withInput })).toMatchObject({ prompt: 'x\n\nz' })
    expect(train({ 'a.b': 'c' }, { columns: { text: 'a.b' } })).toEqual({ kind: 'text', text: 'c' })
    expect(ask({ q: 'a', n: 4 }, { columns: { question: 'q', answer: 'n' } })).toEqual({
      prompt: 'a',
      answer: '4',
      isCompletion: false,
    })
    const columns = { question: 'q', choices: 'options', answer: 'correct' }
    expect(choose({ q: 'a', options: ['x', 'y'], correct: 'B' }, { columns })).toMatchObject({ answer: 1 })
  })

  it('is refused when it does not fit, with what is there', () => {
    const columns = { prompt: 'q', completion: 'a' }
    expect(() => train({ q: 'x', b: 'y' }, { columns })).toThrow(
      /^rows\.jsonl:3: columns names "a", but the row has the columns q, b\.$/,
    )
    expect(() => train({ q: 'x' }, { columns: { prompt: 'q' } })).toThrow(
      /needs text, messages, input_ids, or prompt and/,
    )
    expect(() => speaking('flags', () => train({ q: 'x' }, { columns: { prompt: 'q' } }))).toThrow(
      /^rows\.jsonl:3: --columns names prompt, and /,
    )
    expect(() => speaking('flags', () => train({ q: 'x', b: 'y' }, { columns }))).toThrow(/: --columns names "a", /)
    expect(() => ask({ q: 'x' }, { columns: { text: 'q' } })).toThrow(/needs prompt and answer/)
    expect(() => new RowReading({ columns: { prmpt: 'q' } })).toThrow(/Expected parts of a row .* but received "prmpt"/)
  })
})

describe('advice names columns that are sure, else COLUMN', () => {
  const proposed = (purpose: 'training' | 'pairs' | 'labelled' | 'judged', value: object): string => {
    const rows = purpose === 'training' ? undefined : purpose
    try {
      new RowReading({ rows }).wanted(record(value))
    } catch (error) {
      return [...(error as Error).message.matchAll(/the option columns: \{ ([^}]*) \}/g)]
        .map(([, parts]) => parts!.replaceAll("'", ''))
        .join(' | ')
    }
    return 'read'
  }
  const chat = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello' },
  ]

  it.each<[proposal: string, row: object]>([
    ['prompt: q, completion: a', { q: 'x', a: 'y' }],
    ['prompt: COLUMN, completion: reply', { id: 3, title: 'x', reply: 'y' }],
    ['text: body', { body: 'x', list: [1] }],
    ['prompt: COLUMN, completion: COLUMN', { x: 'a', y: 'b', z: 'c' }],
    ['prompt: question, completion: COLUMN', { source: 'exam 3', question: 'x', difficulty: 'hard', split: 'dev' }],
    ['prompt: COLUMN, completion: COLUMN', { English: 'x', Dholuo: 'y', Category: 'z' }],
    [
      'prompt: COLUMN, completion: COLUMN',
      { id: 'x', url: 'https://a.b/c', score: '4', date: '2026-01-02', lang: 'en' },
    ],
    [
      'prompt: question, completion: answer_text',
      { question_id: 'q', question: 'x', answer_text: 'y', answer_id: 'z' },
    ],
    ['prompt: user_prompt, completion: model_output', { user_prompt: 'x', model_output: 'y', prompt_hash: 'ab' }],
    ['prompt: question, completion: COLUMN', { question: 'x', answer_url: 'y', answer_type: 'z', num_answers: '3' }],
    ['prompt: query, completion: COLUMN', { query: 'x', response_model: 'gpt', response_time: '3 s', tags: 'a, b' }],
    ['prompt: question, completion: COLUMN', { question: 'x', model_response: 'https://a.b/c.pdf' }],
    ['prompt: question, completion: COLUMN', { question: 'x', output: '6f1ed002ab5595859014ebf0951522d9' }],
    ['prompt: problem_text, completion: final_answer', { problem_text: 'x', final_answer: 4, label: 'hard' }],
    ['prompt: source, completion: target', { source: 'x', target: 'y', domain: 'news' }],
    ['prompt: human, completion: assistant', { human: 'x', assistant: 'y', timestamp: '2026-01-02T03:04:05Z' }],
    ['prompt: COLUMN, completion: COLUMN', { new_question: 'y', old_question: 'z' }],
    ['prompt: question, completion: COLUMN', { question: 'x', negative_question: 'y' }],
    ['prompt: instruction, input: input, completion: reply', { instruction: 'x', input: 'y', reply: 'z' }],
    ['prompt: COLUMN, completion: COLUMN', { title: 'x', author: 'y', model: 'gpt', license: 'mit' }],
    ['prompt: COLUMN, completion: summary', { title: 'x', summary: 'y', published: '2026-01-02' }],
    ['text: lyrics', { lyrics: 'one two three four' }],
    ['prompt: COLUMN, completion: COLUMN', { key: 'abc' }],
    ['messages: dialog', { id: 'a', dialog: chat }],
    ['messages: body.messages', { custom_id: 'a', url: '/v1', body: { model: 'm', messages: chat } }],
    [
      'prompt: COLUMN, completion: COLUMN',
      { custom_id: 'a', method: 'POST', url: '/v1', body: { messages: chat.slice(0, 1) } },
    ],
    [
      'prompt: input.question, completion: output.answer',
      { input: { question: 'x', context: 'c' }, output: { answer: 'y' } },
    ],
    [
      'prompt: prompt, chosen: chosen_response, rejected: rejected_response | prompt: prompt, completion: COLUMN',
      { prompt: 'x', chosen_response: 'y', rejected_response: 'z' },
    ],
    [
      'prompt: prompt, chosen: COLUMN, rejected: COLUMN | prompt: prompt, completion: COLUMN',
      { prompt: 'x', response_0: 'y', response_1: 'z', better_response_id: 'a' },
    ],
    [
      'prompt: prompt, chosen: true_response, rejected: COLUMN | prompt: prompt, completion: COLUMN',
      { prompt: 'x', true_response: 'y', model_response: 'z' },
    ],
    [
      'prompt: question, chosen: gold_answer, rejected: wrong_answer | prompt: question, completion: COLUMN',
      { question_1: 'x', question: 'x', wrong_answer: 'z', gold_answer: 'y' },
    ],
    [
      'prompt: input, chosen: COLUMN, rejected: COLUMN | prompt: input, completion: COLUMN',
      { input: 'x', actual_output: 'y', expected_output: 'z' },
    ],
    [
      'prompt: query, input: context, completion: COLUMN',
      { query: 'x', context: 'c', response: 'y', ground_truth: 'z' },
    ],
    ['prompt: query, input: context, completion: response', { query: 'x', context: 'c', response: 'y' }],
    ['prompt: user_input, completion: COLUMN', { user_input: 'x', response: 'y', reference: 'z' }],
    [
      'prompt: input, input: context, completion: COLUMN',
      { input: 'x', actual_output: 'y', expected_output: 'z', retrieval_context: ['r'], context: ['c'] },
    ],
    ['prompt: COLUMN, input: passage, completion: COLUMN', { Frage: 'x', passage: 'p', Antwort: 'y' }],
    ['prompt: instruction, completion: chosen', { instruction: 'x', chosen: 'y', rejected: 'z' }],
    ['messages: chosen', { chosen: chat, rejected: chat }],
    ['text: chosen', { chosen: 'Human: x', rejected: 'Human: y' }],
    ['prompt: query, completion: COLUMN', { query: 'x', options: ['y', 'z'], answer: 'A' }],
    ['prompt: query, completion: answer', { query: 'x', options: ['y', 'z'], answer: 'z' }],
  ])('%s', (proposal, row) => {
    expect(proposed('training', row)).toBe(proposal)
  })

  it.each<[proposal: string, purpose: 'pairs' | 'labelled' | 'judged', row: object]>([
    [
      'prompt: prompt, chosen: chosen_response, rejected: rejected_response',
      'pairs',
      { prompt: 'x', chosen_response: 'y', rejected_response: 'z' },
    ],
    [
      'prompt: question, chosen: COLUMN, rejected: COLUMN',
      'pairs',
      { qid: 'a', question: 'x', response_j: 'y', response_k: 'z' },
    ],
    [
      'prompt: prompt, chosen: COLUMN, rejected: non_preferred_answer',
      'pairs',
      { prompt: 'x', good_answer: 'u', preferred_answer: 'y', non_preferred_answer: 'z' },
    ],
    ['prompt: prompt, completion: response, label: COLUMN', 'judged', { prompt: 'x', response: 'y', rating: 'good' }],
    ['text: review, label: label', 'labelled', { id: 'a', review: 'x', label: 'y' }],
    ['text: COLUMN, label: COLUMN', 'labelled', { headline: 'x', category: 'y' }],
  ])('%s of %s', (proposal, purpose, row) => {
    expect(proposed(purpose, row)).toBe(proposal)
  })

  it.each([
    [{ anchor: 'x', positive: 'y' }, /train takes them with the option objective: embed/],
    [{ sentence: 'x', label: 1 }, /train takes them with the option objective: classify/],
    [
      { question_id: 81, answer_id: 'a', model_id: 'm', choices: [{ index: 0, turns: ['x'] }], tstamp: 1 },
      /answers of a model for a judge .* join both by question_id/,
    ],
    [
      { id: 1, annotations: [{ id: 2, result: [] }], data: { text: 'x' }, meta: {} },
      /export of Label Studio .* JSON-MIN or CSV/,
    ],
  ])('or the objective or program that the row is for: %j', (row, message) => {
    expect(() => train(row)).toThrow(message)
  })

  it('is a way that works', () => {
    const row = { query: 'x', context: ['c', 'd'], response: 'y' }
    expect(train(row, { columns: { prompt: 'query', input: 'context', completion: 'response' } })).toEqual({
      kind: 'completion',
      prompt: 'x\n\nc\nd',
      completion: 'y',
    })
    expect(() => choose({ question_id: 1, choices: [{ turns: ['x'] }] })).toThrow(/answers of a model for a judge/)
  })
})

describe('questions', () => {
  it.each([
    [
      { question: 'a', answer: '1 + 1\n#### 2' },
      { prompt: 'a', answer: '1 + 1\n#### 2', isCompletion: false },
    ],
    [
      { problem: 'a', solution: '\\boxed{2}', answer: '2', level: 1 },
      { prompt: 'a', answer: '2', isCompletion: false },
    ],
    [
      { id: 1, problem: 'a', solution: 'b', answer: '2', question: 'a' },
      { prompt: 'a', answer: '2', isCompletion: false },
    ],
    [
      { Problem: 'a', Answer: 204 },
      { prompt: 'a', answer: '204', isCompletion: false },
    ],
    [
      { body: 'a', question: 'b', answer: '7 (pens)' },
      { prompt: 'a b', answer: '7 (pens)', isCompletion: true },
    ],
    [
      { instruction: 'a', input: '', output: 'b', answer: '8.0' },
      { prompt: 'a', answer: '8.0', isCompletion: false },
    ],
    [
      { prompt: [{ role: 'user', content: 'a' }], reward_model: { ground_truth: '2' }, data_source: 'd' },
      { messages: [{ role: 'user', content: 'a' }], answer: '2', isCompletion: false },
    ],
    [
      {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
        ],
      },
      { messages: [{ role: 'user', content: 'a' }], answer: 'b', isCompletion: true },
    ],
    [
      { id: 1, input: 'a', label: ['b (ORG)', 'c'] },
      { prompt: 'a', answer: 'b (ORG)', isCompletion: false },
    ],
    [
      { id: 1, input: 'a', label: '5%' },
      { prompt: 'a', answer: '5%', isCompletion: false },
    ],
    [
      { system_prompt: 's', question: 'a', response: 'b' },
      {
        messages: [
          { role: 'system', content: 's' },
          { role: 'user', content: 'a' },
        ],
        answer: 'b',
        isCompletion: true,
      },
    ],
  ])('are known by their columns: %j', (value, expected) => {
    expect(ask(value)).toEqual(expected)
  })

  it('may be asked without their answer', () => {
    const prompt = (value: object) => new RowReading().prompt({ value, where: 'rows.jsonl:3' })
    expect(prompt({ question: 'a', tests: ['b'] })).toEqual({ prompt: 'a' })
    expect(prompt({ question: 'a', choices: ['x', 'y'], answer: 0 })).toEqual({ prompt: 'a' })
    const turns = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ]
    expect(prompt({ messages: turns })).toEqual({ messages: turns.slice(0, 1) })
    expect(prompt({ input_ids: [5, 6] })).toEqual({ ids: [5, 6] })
    expect(prompt({ input_ids: [5, 6, 7], labels: [-100, 6, 7] })).toEqual({ ids: [5] })
    expect(prompt([5, 6])).toEqual({ ids: [5, 6] })
    expect(() => prompt([5, -6])).toThrow(/rows\.jsonl:3: input_ids\[1\]/)
    expect(() => new RowReading().weighedPrompt(record({ input_ids: [5] }))).toThrow(/give a text or messages/)
    expect(() => prompt({ a: 'b' })).toThrow(/rows\.jsonl:3: no form of rows has the columns a/)
  })

  it('need an answer', () => {
    expect(() => ask({ prompt: 'a', answer: ' ' })).toThrow(/rows\.jsonl:3: answer: expected an answer/)
    expect(() => ask({ question: 'a', options: ['x'], answer: 'x' })).toThrow(/multiple-choice/)
    expect(() => ask({ question: 'a', A: 'b', B: 'c', C: 'd', D: 'e', answer: 'A' })).toThrow(/multiple-choice/)
    expect(() => ask({ messages: [{ role: 'user', content: 'a' }] })).toThrow(
      /expected an assistant's answer at the end/,
    )
  })
})

describe('multiple-choice questions', () => {
  const xy = { choices: ['x', 'y'] }
  it.each([
    ['MMLU', { question: 'q', choices: ['x', 'y'], answer: 1, subject: 's' }, { ...xy, answer: 1, subject: 's' }],
    [
      'a type as the subject',
      { question: 'q', choices: ['x', 'y'], answer: 'b', type: 't' },
      { answer: 1, subject: 't' },
    ],
    [
      "MMLU's CSV",
      { question: 'q', A: 'x', B: 'y', C: 'z', D: 'w', answer: 'C' },
      { choices: ['x', 'y', 'z', 'w'], answer: 2 },
    ],
    ['ARC', { question: 'q', choices: { text: ['x', 'y'], label: ['1', '2'] }, answerKey: '2' }, { ...xy, answer: 1 }],
    [
      'CommonsenseQA',
      { question: 'q', choices: { label: ['A', 'B'], text: ['x', 'y'] }, answerKey: 'A' },
      { ...xy, answer: 0 },
    ],
    [
      'OpenBookQA',
      {
        question_stem: 'q',
        choices: [
          { text: 'x', label: 'A' },
          { text: 'y', label: 'B' },
        ],
        answerKey: 'B',
      },
      { ...xy, answer: 1 },
    ],
    [
      'HellaSwag',
      { ctx: 'q', endings: ['x', 'y'], label: '1', activity_label: 's' },
      { ...xy, answer: 1, subject: 's' },
    ],
    ['AQuA', { question: 'q', options: ['A)x', 'B)y'], rationale: 'r', correct: 'B' }, { ...xy, answer: 1 }],
    ['MedQA', { question: 'q', options: { A: 'x', B: 'y' }, answer: 'y', answer_idx: 'B' }, { ...xy, answer: 1 }],
    [
      "the harness's MedQA",
      { sent1: 'q', sent2: '', ending0: 'x', ending1: 'y', ending2: 'z', ending3: 'w', label: 1 },
      { choices: ['x', 'y', 'z', 'w'], answer: 1 },
    ],
    [
      'MedMCQA',
      { question: 'q', opa: 'x', opb: 'y', opc: 'z', opd: 'w', cop: 2, exp: null, subject_name: 's' },
      { choices: ['x', 'y', 'z', 'w'], answer: 2, subject: 's' },
    ],
    [
      'PubMedQA',
      { pubid: 1, question: 'q', context: { contexts: ['a', 'b'], labels: ['A', 'B'] }, final_decision: 'maybe' },
      { choices: ['yes', 'no', 'maybe'], answer: 2, context: 'a\nb' },
    ],
    [
      'PubMedQA in capitals',
      { QUESTION: 'q', CONTEXTS: ['a'], LABELS: ['A'], final_decision: 'yes', LONG_ANSWER: 'l' },
      { choices: ['yes', 'no', 'maybe'], answer: 0, context: 'a' },
    ],
    [
      'AdaptLLM',
      { id: 0, input: 'q', options: ['x', 'y'], gold_index: 1, class_id: 3 },
      { ...xy, answer: 1, subject: '3', continues: true },
    ],
    ['MMLU-Pro', { question: 'q', options: ['x', 'y'], answer: 'B', answer_index: 1 }, { ...xy, answer: 1 }],
    [
      'AGIEval',
      { passage: null, question: 'q', options: ['(A)x', '(B)y'], label: 'B', answer: null },
      { ...xy, answer: 1 },
    ],
    ['a text as the answer', { question: 'q', options: ['x', 'y'], answer: 'y' }, { answer: 1 }],
    ['TruthfulQA', { question: 'q', mc1_targets: { choices: ['x', 'y'], labels: [0, 1] } }, { ...xy, answer: 1 }],
    [
      "TruthfulQA's CSV",
      { Type: 't', Category: 'c', Question: 'q', 'Best Answer': 'x', 'Incorrect Answers': 'y; z' },
      { choices: ['x', 'y', 'z'], answer: 0, subject: 'c' },
    ],
    ['PIQA', { goal: 'q', sol1: 'x', sol2: 'y', label: 1 }, { ...xy, answer: 1 }],
    [
      'SciQ',
      { question: 'q', correct_answer: 'x', distractor1: 'y', distractor2: 'z', distractor3: 'w', support: '' },
      { choices: ['x', 'y', 'z', 'w'], answer: 0 },
    ],
  ])('are known by their columns: %s', (_, value, expected) => {
    expect(choose(value)).toMatchObject({ question: 'q', ...expected })
  })

  it("HellaSwag's text is prepared as by the harness", () => {
    const row = {
      ctx: 'not read',
      ctx_a: '[header] How to sow [title] Dig.',
      ctx_b: 'ask NASA  and Anna.',
      endings: ['[step] Put it  down.', 'Stop.'],
      label: 0,
      activity_label: 'Garden',
    }
    expect(choose(row)).toEqual({
      question: 'Garden: How to sow. Dig. Ask nasa and anna.',
      choices: [' Put it down.', 'Stop.'],
      answer: 0,
      subject: 'Garden',
      continues: true,
    })
  })

  it.each([
    [{ question: 'q', choices: ['x'], answer: 0 }, /choices: expected 2 to 26 choices but received 1/],
    [{ question: 'q', choices: ['x', null], answer: 0 }, /choices\[1\]: expected a text but received null/],
    [
      { question: 'q', choices: ['x', 'y'], answer: 'z' },
      /answer: expected an index from 0 to 1 or a letter from A to B/,
    ],
    [{ question: 'q', choices: { text: ['x', 'y'], label: ['1', '2'] }, answerKey: '3' }, /one of the labels 1, 2/],
    [{ question: 'q', answer: 'z' }, /the columns question, answer; .* question: 'question', choices: 'COLUMN', /],
  ])('that are malformed name the row: %j', (value, message) => {
    expect(() => choose(value)).toThrow(message)
  })
})

describe('rows that are compared as wholes', () => {
  const wanted = (rows: 'labelled' | 'related' | 'pairs', value: object, more: object = {}) =>
    new RowReading({ rows, ...more }).wanted({ value, where: 'row 1' })

  it.each([
    [
      { text: 'a', label: 'x' },
      { kind: 'text', text: 'a' },
    ],
    [
      { sentence: 'a', label: 1, idx: 7 },
      { kind: 'text', text: 'a' },
    ],
    [
      { prompt: 'p', label: true },
      { kind: 'completion', prompt: 'p', completion: '' },
    ],
    [
      { prompt: 'p', completion: 'c', label: 0 },
      { kind: 'completion', prompt: 'p', completion: 'c' },
    ],
    [{ messages: [{ role: 'user', content: 'u' }], label: 2 }, { kind: 'messages' }],
  ])('have a label: %j', (value, of) => {
    expect(wanted('labelled', value)).toMatchObject({ kind: 'compared', areWhole: true, label: 0, examples: [[of]] })
  })

  it('have the number of their label, whose names are sorted in the end', () => {
    const reading = new RowReading({ rows: 'labelled', columns: { text: 'review', label: 'stars' } })
    const numbers = Float32Array.from([10, 9, 10, 2], (stars) => {
      const row = reading.wanted({ value: { review: 'r', stars }, where: 'row' })
      return row.kind === 'compared' ? row.label! : -1
    })
    expect([...numbers]).toEqual([0, 1, 0, 2])
    reading.labels!.sort(numbers)
    expect(reading.labels!.names).toEqual(['2', '9', '10'])
    expect([...numbers]).toEqual([2, 1, 2, 0])
  })

  it.each([
    [
      { anchor: 'a', positive: 'p' },
      { positives: ['p'], negatives: [] },
    ],
    [
      { anchor: 'a', positive: 'p', negative: 'n' },
      { positives: ['p'], negatives: ['n'] },
    ],
    [
      { query: 'a', positive: 'p', negatives: ['n', 'm'] },
      { positives: ['p'], negatives: ['n', 'm'] },
    ],
    [
      { query: 'a', pos: ['p', 'q'], neg: ['n'] },
      { positives: ['p', 'q'], negatives: ['n'] },
    ],
    [{ question: 'a', answer: 'p' }, { positives: ['p'] }],
    [{ sentence1: 'a', sentence2: 'p' }, { positives: ['p'] }],
    [
      { sentence1: 'a', sentence2: 'p', score: 2.5 },
      { positives: ['p'], score: 2.5 },
    ],
  ])('belong together: %j', (value, expected) => {
    expect(relatedTexts(new RowReading().formed(record(value), related))).toMatchObject({ anchor: 'a', ...expected })
    const { positives, negatives, score } = { negatives: [], score: undefined, ...expected }
    const examples = positives.map((one) => ['a', one, ...negatives].map((text) => ({ kind: 'text', text })))
    if (score === undefined) expect(wanted('related', value)).toEqual({ kind: 'compared', areWhole: true, examples })
    else expect(() => wanted('related', value)).toThrow('give those alone, without scores')
  })

  it('have a margin', () => {
    const pair = { prompt: 'p', chosen: 'c', rejected: 'r' }
    expect(wanted('pairs', { ...pair, margin: 1.5 })).toMatchObject({ label: 1.5 })
    expect(wanted('pairs', { ...pair, margin: null })).not.toHaveProperty('label')
    expect(() => wanted('pairs', { ...pair, margin: 'much' })).toThrow('row 1: margin: expected a number')
  })
})

it('every form has a name of its own', () => {
  expect(new Set(ROW_FORMS.map(({ name }) => name)).size).toBe(ROW_FORMS.length)
})
