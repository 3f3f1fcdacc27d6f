/**
 * Routes of a reward model: `POST /v1/score` (the scores of pairs of texts, as vLLM has them) and `/v1/rerank` (documents in the order of
 * their scores, as Jina and Cohere have it). The head scores the second text as the completion of the first.
 */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { aFlag, anyText, wholeFrom } from '../../common/arguments.js'
import { requireScore, scoredTexts } from '../../eval/index.js'
import type { ActiveRequest } from '../active-requests.js'
import { ApiError } from '../api-error.js'
import { readBody } from '../body.js'
import { eitherOf, listField, parseFields, wrongField } from '../fields.js'
import { requireRoom } from '../prompts.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfScores } from '../unsupported.js'

/** Maximum number of pairs of a request. */
const MOST_PAIRS = 1024

const textsField = eitherOf('a text or a list of texts', [
  anyText,
  listField(anyText, `a list of 1 to ${MOST_PAIRS} texts`, { least: 1, most: MOST_PAIRS }),
])

const common = {
  model: anyText.optional(),
  /** Whether scores are between 0 and 1, by the logistic function; the order is the same. */
  use_activation: aFlag.default(true),
}

const ScoreBody = z.looseObject({ ...common, text_1: textsField, text_2: textsField })

const documentField = eitherOf('a text or an object with a text', [anyText, z.looseObject({ text: anyText })])

const RerankBody = z.looseObject({
  ...common,
  query: anyText,
  documents: listField(documentField, `a list of 1 to ${MOST_PAIRS} documents`, { least: 1, most: MOST_PAIRS }),
  top_n: wholeFrom(1).optional(),
  return_documents: aFlag.default(true),
})

export async function score(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfScores)
  const body = parseFields(ScoreBody, given)
  const [first, second] = [listOf(body.text_1), listOf(body.text_2)]
  if (first.length !== 1 && first.length !== second.length)
    throw wrongField(
      'text_2',
      `Expected ${first.length} texts for text_2, as text_1 has, but received ${second.length}.`,
    )
  requireRoom(first, 'text_1', serving.model)
  requireRoom(second, 'text_2', serving.model)
  const pairs = second.map((completion, i) => ({ prompt: first[first.length === 1 ? 0 : i]!, completion }))
  const { model, scores, tokens } = await scoresOfPairs(pairs, body, request, serving)
  return Response.json({
    id: `score-${randomUUID()}`,
    object: 'list',
    created: Math.floor(Date.now() / 1000),
    model,
    data: scores.map((score, index) => ({ index, object: 'score', score })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  })
}

export async function rerank(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfScores)
  const body = parseFields(RerankBody, given)
  const texts = body.documents.map((one) => (typeof one === 'string' ? one : one.text))
  requireRoom([body.query], 'query', serving.model)
  requireRoom(texts, 'documents', serving.model)
  const pairs = texts.map((completion) => ({ prompt: body.query, completion }))
  const { model, scores, tokens } = await scoresOfPairs(pairs, body, request, serving)
  const results = scores
    .map((relevance_score, index) => ({
      index,
      relevance_score,
      ...(body.return_documents && { document: { text: texts[index]! } }),
    }))
    .sort((a, b) => b.relevance_score - a.relevance_score)
  return Response.json({
    id: `rerank-${randomUUID()}`,
    model,
    results: results.slice(0, body.top_n),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  })
}

const listOf = (texts: string | readonly string[]): readonly string[] => (typeof texts === 'string' ? [texts] : texts)

interface Asked {
  readonly model?: string | undefined
  readonly use_activation: boolean
}

/** Scores pairs of texts by the model or adapter that a request names. @throws UsageError `no-head`; ApiError 400 for a pair that is too long */
async function scoresOfPairs(
  pairs: readonly { prompt: string; completion: string }[],
  { model: name, use_activation: isActivated }: Asked,
  request: Request,
  serving: Serving,
): Promise<{ model: string; scores: number[]; tokens: number }> {
  const active = await serving.requests.admit(name, pairs.length, request)
  try {
    const { scores, tokens } = await headScores(pairs, active, serving)
    serving.metrics.promptTokens += tokens
    const shown = isActivated ? scores.map((score) => 1 / (1 + Math.exp(-score))) : scores
    return { model: active.used.model, scores: shown, tokens }
  } finally {
    active.end()
  }
}

async function headScores(
  pairs: readonly { prompt: string; completion: string }[],
  active: ActiveRequest,
  { model, template }: Serving,
): Promise<{ scores: number[]; tokens: number }> {
  const view = model.withAdapters(active.used.adapters)
  requireScore(view, 'A score')
  const { maxPositions } = model.config
  const all: number[] = []
  let sum = 0
  // A longer row would lose its end, at which the head reads.
  const options = { template, maxLength: maxPositions + 1, batchSize: 1, signal: active.signal }
  for await (const { tokens, scores } of scoredTexts(view, pairs, options)) {
    if (tokens > maxPositions) {
      const message = `The texts of pair ${all.length} have more tokens than the model's ${maxPositions} positions; shorten them.`
      throw new ApiError(400, message, { code: 'context_length_exceeded' })
    }
    active.begin()
    all.push(scores[0]!)
    sum += tokens
  }
  return { scores: all, tokens: sum }
}
