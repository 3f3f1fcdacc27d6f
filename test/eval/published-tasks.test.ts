/** Whole tasks against lm-evaluation-harness and AdaptLLM (golden/evaluation of MORA_TEST_ASSETS), on the real model in float32. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { pairTokens, plainPairTokens } from '../../lib/eval/continuations.js'
import { type EvaluateOptions, evaluate, type RowEntry } from '../../lib/eval/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import type { Task } from '../../lib/options/index.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { needing } from '../needs.js'
import { evaluationJson } from './published.js'

/** Of a log-likelihood of a whole continuation; 8e-5 is the distance of transformers. */
const TOLERANCE = 2e-4

type Pair = Awaited<ReturnType<typeof pairTokens>>
interface Choices {
  accuracy: Record<'arc_easy' | 'hellaswag', { acc: number; accNorm: number; accBytes: number }>
  encodePair: { context: string; continuation: string; plain: Pair; withBos: Pair }[]
  rows: Row[]
}
interface Row {
  task: string
  doc: Record<string, unknown>
  prompt: string
  logLikelihoods: number[]
  acc: number
  accNorm: number
  accBytes: number
}
interface Mmlu {
  accuracy: Record<string, { overQuestions: number; overSubjects: number; subjects: Record<string, { acc: number }> }>
  dev: Record<string, unknown>[]
  rows: (Record<string, unknown> & {
    shots: Record<string, { prompt: string; logLikelihoods: number[]; acc: number }>
  })[]
}
interface Tasks {
  accuracy: Record<string, { acc: number }>
  rows: Row[]
  adaptllm: (Pick<Row, 'task' | 'doc'> & { meanLogProbs: number[]; continuationIds: number[][]; pred: number })[]
  adaptllmScores: Record<string, Record<string, number>>
}

const golden = <T>(name: string) => evaluationJson<T>(assetPath(`golden/evaluation/${name}`))

needing(lacksRealModel, lacksAsset('golden/evaluation', 'golden data')).describe('published tasks', () => {
  let model: Model
  beforeAll(async () => {
    model = await loadModel(assetPath(REAL_MODEL), { device: 'cpu', dtype: 'float32' })
  })
  afterAll(() => model?.dispose())

  const ask = async <T extends Task>(options: EvaluateOptions<T>) => {
    const result = (await evaluate(model, { ...options, details: true })) as unknown as Record<string, unknown>
    return { result, rows: result.rows as RowEntry[] }
  }
  const expectSame = (
    found: RowEntry,
    { prompt, logLikelihoods, acc }: Pick<Row, 'prompt' | 'logLikelihoods' | 'acc'>,
  ) => {
    expect(found.prompt).toBe(prompt)
    expect(farthest(found.logLikelihoods!, logLikelihoods)).toBeLessThan(TOLERANCE)
    expect(found.score).toBe(acc)
  }

  it('contexts and continuations have the ids of the harness, with and without BOS', async () => {
    const tokenizer = model.tokenizer!
    const beginning = {
      bosId: 1,
      encode: (text: string) => tokenizer.encode(text),
      encodeText: async (text: string) => {
        const ids = await tokenizer.encode(text)
        return ids[0] === 1 ? ids : [1, ...ids]
      },
    }
    for (const { context, continuation, plain, withBos } of golden<Choices>('choices.json').encodePair) {
      expect([context, await pairTokens(tokenizer, context, continuation)]).toEqual([context, plain])
      expect([context, await pairTokens(beginning, context, continuation)]).toEqual([context, withBos])
    }
    const asAdaptllm = await plainPairTokens(beginning, 'The answer is ', ' yes')
    expect(asAdaptllm).toEqual({ context: [504, 2988, 314, 216], continuation: [9805] })
  })

  it.each(['arc_easy', 'hellaswag'] as const)('choices by text: %s', async (task) => {
    const { rows, accuracy } = golden<Choices>('choices.json')
    const expected = rows.filter((row) => row.task === task)
    const data = expected.map(({ doc }) => doc)
    const found = await ask({ task: 'choices', data, score: 'text', template: 'none' })
    for (const [i, row] of expected.entries()) {
      expectSame(found.rows[i]!, row)
      expect(found.rows[i]).toMatchObject({ perCharacter: row.accNorm, perByte: row.accBytes })
    }
    const { acc, accNorm, accBytes } = accuracy[task]
    expect(found.result).toMatchObject({ accuracy: acc, perCharacter: accNorm, perByte: accBytes })
  })

  it.each([0, 5])('mmlu with %i shots', async (shots) => {
    const { rows, dev, accuracy } = golden<Mmlu>('mmlu.json')
    const data = rows.map(({ subject, question, choices, answer }) => ({ subject, question, choices, answer }))
    const found = await ask({ task: 'mmlu', data, shots, shotsData: shots > 0 ? dev : undefined })
    for (const [i, row] of rows.entries()) expectSame(found.rows[i]!, row.shots[shots]!)
    const { overQuestions, overSubjects, subjects } = accuracy[shots]!
    expect(found.result.accuracy).toBeCloseTo(overQuestions, 12)
    expect(found.result.meanOfSubjects).toBeCloseTo(overSubjects, 12)
    const bySubject = Object.fromEntries(Object.entries(subjects).map(([subject, { acc }]) => [subject, acc]))
    expect(found.result.accuracyBySubject).toEqual(bySubject)
  })

  it.each([
    ['pubmedqa', 'pubmedqa'],
    ['medqa_4options', 'medqa'],
    ['medmcqa', 'medmcqa'],
  ] as const)('%s', async (name, task) => {
    const { rows, accuracy } = golden<Tasks>('tasks.json')
    const expected = rows.filter((row) => row.task === name)
    const found = await ask({ task, data: expected.map(({ doc }) => doc) })
    for (const [i, row] of expected.entries()) expectSame(found.rows[i]!, row)
    expect(found.result.accuracy).toBeCloseTo(accuracy[name]!.acc, 12)
  })

  it.each([
    ['FPB', 'fpb', 'weightedF1'],
    ['FiQA_SA', 'fiqa', 'weightedF1'],
    ['Headline', 'headline', 'meanOverClassesOfWeightedF1'],
    ['RCT', 'rct', 'microF1'],
  ] as const)('%s', async (name, task, score) => {
    const { adaptllm, adaptllmScores } = golden<Tasks>('tasks.json')
    const expected = adaptllm.filter((row) => row.task === name)
    const found = await ask({ task, data: expected.map(({ doc }) => doc) })
    for (const [i, { doc, meanLogProbs, continuationIds, pred }] of expected.entries()) {
      const { prompt, predicted, logLikelihoods } = found.rows[i]!
      expect(prompt).toBe(doc.input)
      const means = logLikelihoods!.map((sum, choice) => sum / continuationIds[choice]!.length)
      expect(farthest(means, meanLogProbs)).toBeLessThan(TOLERANCE)
      expect(predicted).toBe(pred)
    }
    expect(found.result.accuracy).toBeCloseTo(adaptllmScores[name]!.acc!, 12)
    expect(found.result.score).toBeCloseTo(adaptllmScores[name]![score]!, 12)
  })
})

const farthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)), Math.abs(a.length - b.length))
