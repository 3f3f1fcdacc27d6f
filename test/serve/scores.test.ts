/** `/v1/score` and `/v1/rerank`: scores of pairs of texts by a reward head. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { scoresOf } from '../../lib/eval/index.js'
import type { Model } from '../../lib/models/index.js'
import { MAX_POSITIONS, NAME, startServer, tinyModel } from './tiny-server.js'

const query = 'Which is a colour?'
const documents = ['a stone', 'the word red', 'nothing of it', 'red']

let judge: Model
let plain: Model
let server: Awaited<ReturnType<typeof startServer>>
let withoutHead: Awaited<ReturnType<typeof startServer>>

beforeAll(async () => {
  judge = await tinyModel()
  judge.addHead(['score'], { seed: 7 })
  plain = await tinyModel()
  server = await startServer(judge)
  withoutHead = await startServer(plain)
})

afterAll(async () => {
  for (const one of [server, withoutHead]) await one.close()
  for (const model of [judge, plain]) model.dispose()
  expect([...server.errors, ...withoutHead.errors]).toEqual([])
})

interface Answer {
  data: { score: number }[]
  results: object[]
  usage: { prompt_tokens: number }
}

async function ask(path: string, body: object, { post } = server) {
  const response = await post(path, body)
  return { status: response.status, answer: (await response.json()) as Answer }
}

const logistic = (x: number) => 1 / (1 + Math.exp(-x))

it('scores each second text as the completion of the first, as the library does', async () => {
  const pairs = documents.map((completion) => ({ prompt: query, completion }))
  const expected = (await scoresOf(judge, pairs, { batchSize: 1 })).map(([score]) => score!)
  expect(new Set(expected).size).toBe(documents.length)
  for (const path of ['/v1/score', '/score']) {
    const { answer } = await ask(path, { model: NAME, text_1: query, text_2: documents, use_activation: false })
    expect(answer).toMatchObject({ object: 'list', model: NAME })
    expect(answer.data).toEqual(expected.map((score, index) => ({ index, object: 'score', score })))
    expect(answer.usage.prompt_tokens).toBeGreaterThan(documents.length)
  }
  const { answer } = await ask('/v1/score', { text_1: documents.map(() => query), text_2: documents })
  expect(answer.data.map(({ score }) => score)).toEqual(expected.map(logistic))
})

it('ranks documents by their scores, best first', async () => {
  const scored = await ask('/v1/score', { text_1: query, text_2: documents })
  const scores = scored.answer.data.map(({ score }) => score)
  const best = documents.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!)
  for (const path of ['/v1/rerank', '/v2/rerank', '/rerank']) {
    const { answer } = await ask(path, { query, documents: documents.map((text, i) => (i % 2 ? { text } : text)) })
    expect(answer.results).toEqual(
      best.map((index) => ({ index, relevance_score: scores[index], document: { text: documents[index] } })),
    )
  }
  const { answer } = await ask('/v1/rerank', { query, documents, top_n: 2, return_documents: false })
  expect(answer.results).toEqual(best.slice(0, 2).map((index) => ({ index, relevance_score: scores[index] })))
})

it('refuses what it cannot score', async () => {
  const long = 'red '.repeat(MAX_POSITIONS)
  for (const [body, message] of [
    [{ text_1: ['a', 'b'], text_2: ['c'] }, 'Expected 2 texts for text_2, as text_1 has, but received 1.'],
    [{ text_1: 'a', text_2: [] }, 'Expected a text or a list of texts for text_2'],
    [{ text_1: 'a', text_2: ['b', long] }, 'The texts of pair 1 have more tokens than the model'],
    [{ text_1: 'a', text_2: 'b', truncate_prompt_tokens: 4 }, 'truncate_prompt_tokens is not supported'],
  ] as const)
    expect(await ask('/v1/score', body)).toMatchObject({
      status: 400,
      answer: { error: { message: expect.stringContaining(message) } },
    })
  expect(await ask('/v1/rerank', { query, documents }, withoutHead)).toMatchObject({
    status: 400,
    answer: { error: { code: 'no-head', message: expect.stringContaining('gives one score (the objective reward') } },
  })
})

it('tells facts of the model as llama.cpp names them', async () => {
  const facts = (await (await fetch(`${server.origin}/props`)).json()) as { eos_token: string }
  expect(facts).toMatchObject({
    default_generation_settings: { n_ctx: MAX_POSITIONS },
    total_slots: 8,
    model_path: NAME,
    chat_template: judge.tokenizer!.template!.source,
  })
  expect(facts.eos_token).toBe(judge.tokenizer!.tokenOf(judge.tokenizer!.eosId!))
})
