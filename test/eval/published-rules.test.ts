/** How tasks read answers, against lm-evaluation-harness, the authors of MATH, MetaMath and AdaptLLM (golden/evaluation). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { evaluate, type RowEntry } from '../../lib/eval/index.js'
import { RowReading } from '../../lib/rows/reading.js'
import { entities, entityF1, numbers } from '../../lib/tasks/adaptllm.js'
import { lastBoxed } from '../../lib/tasks/answers.js'
import { flexibleExtract, GSM8K_COT_STRICT, GSM8K_STRICT, gsm8k, gsm8kCot, strictMatch } from '../../lib/tasks/gsm8k.js'
import { math } from '../../lib/tasks/math.js'
import { isEquivalent, normalised } from '../../lib/tasks/math-equivalence.js'
import { best, weightedF1 } from '../../lib/tasks/measures.js'
import { metamathNumber, metamathText } from '../../lib/tasks/metamath.js'
import { mmlu } from '../../lib/tasks/mmlu.js'
import type { AnswerTask } from '../../lib/tasks/task.js'
import { evaluationJson, evaluationSizes } from './published.js'

interface Filtered {
  extracted: string
  exactMatch: 0 | 1
}
type Filters = Record<'strict-match' | 'flexible-extract', Filtered>

interface Gsm8k {
  rows: {
    completion: string
    answer: string
    gsm8k: Filters
    gsm8k_cot: Filters
    metamath: { extracted: number | null; correct: boolean }
  }[]
}

interface Mathematics {
  pairs: { a: string | null; b: string | null; authors: boolean; stripped?: (string | { error: string })[] }[]
  solutions: {
    text: string
    authorsContent: string | null
    reference: string
    referenceAnswer: string
    metamath: { extracted: string | null; correct: boolean }
    boxedEqual: boolean
  }[]
}

interface Adapted {
  measures: { true: number[]; pred: number[]; weightedF1: number }[]
  ner: {
    label: string[]
    pred: string
    trueEntities: [string, string][]
    predEntities: [string, string][]
    f1: number
  }[]
  convfinqa: {
    label: string[]
    pred: string
    labelNumbers: (number | null)[]
    predNumbers: (number | null)[]
    correct: boolean
  }[]
  adaptllmScores: { NER: { meanF1: number }; ConvFinQA: { exactMatch: number } }
}

interface Prompts extends Gsm8k {
  train: { question: string; answer: string }[]
  prompts: { task: string; shots: number; question: string; prompt: string }[]
}

interface Mmlu {
  accuracy: { given: { overQuestions: number; overSubjects: number; subjects: Record<string, { acc: number }> } }
  rows: { subject: string; answer: number; shots: { given: { logLikelihoods: number[]; acc: number } } }[]
}

const given = { row: {}, where: 'row 1' }

/** The answer that a row expects. */
const expectedBy = (task: AnswerTask, value: object) => task.rows({ value, where: 'row 1' }, new RowReading()).answer!

const folder = mkdtempSync(join(tmpdir(), 'mora-predictions-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0

/** Writes a file of predictions. */
function writeTexts(texts: readonly string[]): string {
  const path = join(folder, `${files++}.jsonl`)
  writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''))
  return path
}

evaluationSizes('gsm8k.json', (file) => {
  const { rows } = evaluationJson<Gsm8k>(file)

  it.each([
    ['gsm8k', GSM8K_STRICT, gsm8k],
    ['gsm8k_cot', GSM8K_COT_STRICT, gsm8kCot],
  ] as const)('the filters of %s extract and judge as the harness', (name, pattern, task) => {
    for (const { completion, answer, ...row } of rows) {
      const { 'strict-match': strict, 'flexible-extract': flexible } = row[name]
      expect([completion, strictMatch(completion, pattern)]).toEqual([completion, strict.extracted])
      expect([completion, flexibleExtract(completion)]).toEqual([completion, flexible.extracted])
      const verdict = task.answer.judge({ ...given, text: completion, answer: '0', solution: answer }) as Record<
        string,
        unknown
      >
      expect([completion, verdict.strict, verdict.flexible]).toEqual([
        completion,
        strict.exactMatch,
        flexible.exactMatch,
      ])
    }
  })

  it("MetaMath's rule extracts and judges as its program", () => {
    for (const { completion, answer, metamath } of rows) {
      expect([completion, metamathNumber(completion)]).toEqual([completion, metamath.extracted])
      const reference = expectedBy(gsm8k, { question: 'How many?', answer })
      const { metamath: correct } = gsm8k.answer.judge({
        ...given,
        text: completion,
        answer: reference,
        solution: answer,
      }) as Record<string, unknown>
      expect([completion, correct]).toEqual([completion, Number(metamath.correct)])
    }
  })
})

evaluationSizes('gsm8k.json', (file) => {
  const { rows, train, prompts } = evaluationJson<Prompts>(file)
  const predictions = writeTexts(rows.map(({ completion }) => completion))

  it('texts that were made elsewhere have the scores of the harness, without a model', async () => {
    const data = rows.map(({ answer }, i) => ({ question: `${i}?`, answer }))
    const result = await evaluate(null, { task: 'gsm8k', data, predictions, details: true })
    const share = (right: (row: Gsm8k['rows'][number]) => number) =>
      rows.reduce((sum, row) => sum + right(row), 0) / rows.length
    expect(result.strict).toBeCloseTo(
      share(({ gsm8k }) => gsm8k['strict-match'].exactMatch),
      12,
    )
    expect(result.flexible).toBeCloseTo(
      share(({ gsm8k }) => gsm8k['flexible-extract'].exactMatch),
      12,
    )
    expect(result.metamath).toBeCloseTo(
      share(({ metamath }) => Number(metamath.correct)),
      12,
    )
    for (const [i, entry] of (result.rows as RowEntry[]).entries()) {
      const { gsm8k, completion } = rows[i]!
      const [strict, flexible] = [gsm8k['strict-match'].exactMatch, gsm8k['flexible-extract'].exactMatch]
      expect(entry).toMatchObject({ text: completion, strict, flexible })
    }
  })

  it.each(prompts)('the prompt of $task with $shots shots is that of the harness', async ({ task, ...asked }) => {
    const { shots, question, prompt } = asked
    const { rows: entries } = await evaluate(null, {
      task: task === 'gsm8k' ? 'gsm8k' : 'gsm8k-cot',
      data: rows.map(() => ({ question, answer: '#### 1' })),
      predictions,
      details: true,
      shots,
      shotsData: shots > 0 ? train : undefined,
    })
    expect((entries as RowEntry[])[0]!.prompt).toBe(prompt)
  })
})

evaluationSizes('mmlu.json', (file) => {
  it('of equal choices the first is the answer, and means are over rows and over subjects', () => {
    const { rows, accuracy } = evaluationJson<Mmlu>(file)
    const entries = rows.map(({ subject, answer, shots }) => {
      const predicted = best(shots.given.logLikelihoods)
      expect(Number(predicted === answer)).toBe(shots.given.acc)
      return { prompt: '', subject, answer, predicted, score: Number(predicted === answer) }
    })
    const { overQuestions, overSubjects, subjects } = accuracy.given
    const { measures } = mmlu
    expect(measures.accuracy(entries)).toBeCloseTo(overQuestions, 12)
    expect(measures.meanOfSubjects(entries)).toBeCloseTo(overSubjects, 12)
    expect(measures.accuracyBySubject(entries)).toEqual(
      Object.fromEntries(Object.entries(subjects).map(([subject, { acc }]) => [subject, acc])),
    )
  })
})

evaluationSizes('math.json', (file) => {
  const { pairs, solutions } = evaluationJson<Mathematics>(file)

  it('equivalence of answers is that of the authors', () => {
    for (const { a, b, authors, stripped } of pairs) {
      expect([a, b, isEquivalent(a, b)]).toEqual([a, b, authors])
      for (const [i, text] of [a, b].entries()) {
        if (text === null || stripped === undefined) continue
        const expected = stripped[i]
        expect([text, normalised(text)]).toEqual([text, typeof expected === 'string' ? expected : null])
      }
    }
  })

  it('answers are found as by the authors and by MetaMath', () => {
    for (const { text, authorsContent, reference, referenceAnswer, metamath, boxedEqual } of solutions) {
      expect([text, lastBoxed(text)]).toEqual([text, authorsContent])
      expect([text, metamathText(text)]).toEqual([text, metamath.extracted])
      const answer = expectedBy(math, { problem: 'How many?', solution: reference })
      expect(answer).toBe(referenceAnswer)
      const verdict = math.answer.judge({ ...given, text, answer, solution: reference }) as Record<string, unknown>
      expect([text, verdict.metamath]).toEqual([text, Number(metamath.correct)])
      if (authorsContent !== null) expect([text, verdict.score]).toEqual([text, Number(boxedEqual)])
    }
  })
})

evaluationSizes('tasks.json', (file) => {
  const { measures, ner, convfinqa, adaptllmScores } = evaluationJson<Adapted>(file)

  it('the weighted F1 is that of scikit-learn', () => {
    for (const { true: right, pred, weightedF1: expected } of measures) {
      const entries = right.map((answer, i) => ({ prompt: '', answer, predicted: pred[i]!, score: 0 }))
      expect(weightedF1(entries)).toBeCloseTo(expected, 12)
    }
  })

  it('entities and their F1 are those of nereval', () => {
    const pairs = (text: string) => entities(text).map(({ word, type }) => [word, type])
    for (const { label, pred, trueEntities, predEntities, f1 } of ner) {
      expect(pairs(label[0]!)).toEqual(trueEntities)
      expect(pairs(pred)).toEqual(predEntities)
      expect(entityF1(entities(label[0]!), entities(pred))).toBeCloseTo(f1, 12)
    }
  })

  it('figures are read as by AdaptLLM', () => {
    const infinite = (list: (number | null)[]) => list.map((value) => value ?? Number.POSITIVE_INFINITY)
    for (const { label, pred, labelNumbers, predNumbers } of convfinqa) {
      expect(numbers(label[0]!)).toEqual(infinite(labelNumbers))
      expect(numbers(pred)).toEqual(infinite(predNumbers))
    }
  })

  it('the scores of NER and ConvFinQA are those of AdaptLLM', async () => {
    const run = async (task: 'ner' | 'convfinqa', rows: { label: string[]; pred: string }[]) => {
      const data = rows.map(({ label }) => ({ input: 'Say:', label }))
      const predictions = writeTexts(rows.map(({ pred }) => pred))
      const { rows: entries, score } = await evaluate(null, { task, data, predictions, details: true })
      return { score, scores: (entries as RowEntry[]).map((entry) => entry.score) }
    }
    const names = await run('ner', ner)
    for (const [i, score] of names.scores.entries()) expect(score).toBeCloseTo(ner[i]!.f1, 12)
    expect(names.score).toBeCloseTo(adaptllmScores.NER.meanF1, 12)
    const figures = await run('convfinqa', convfinqa)
    expect(figures.scores).toEqual(convfinqa.map(({ correct }) => Number(correct)))
    expect(figures.score).toBeCloseTo(adaptllmScores.ConvFinQA.exactMatch, 12)
  })
})

describe('our rule for GSM8K', () => {
  const score = (text: string, solution = '8 + 10 = <<8+10=18>>18\n#### 18') => {
    const answer = expectedBy(gsm8k, { question: 'How many?', answer: solution })
    return gsm8k.answer.judge({ ...given, text, answer, solution }) as { score: number }
  }

  it.each([
    '#### 18',
    '####18',
    '#### $18.00',
    'The answer is: 18',
    'The answer is 18 dollars. More.',
    'so \\boxed{18}.',
    'The answer is: $\\boxed{18}$',
  ])('%s is right', (text) => expect(score(text).score).toBe(1))

  it.each(['18', '#### 19', 'The answer is 81.', '#### 18 or 19', ''])('%s is wrong', (text) =>
    expect(score(text).score).toBe(0),
  )

  it('refuses a row without a reference answer', () => {
    expect(() => score('18', 'It is eighteen.')).toThrow('row 1: expected an answer that is a number, or ends in ####')
    const row = { problem: 'How many?', solution: 'It is 18.' }
    expect(() => expectedBy(math, row)).toThrow('row 1: expected a solution with its answer in \\boxed{}')
  })
})
