/** Options of sampling and log-probabilities, as transformers and vLLM compute them. */
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { type EditOptions, LogitsEdits } from '../../lib/engine/logits-edits.js'
import { loadModel } from '../../lib/models/index.js'
import { chooseTokens } from '../../lib/tensor/operations/choose-tokens.js'
import {
  editLogits,
  GREEDY,
  maskLogits,
  type RankedToken,
  rankTokens,
  type Sampling,
  sampleTokens,
} from '../../lib/tensor/operations/sampling.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { drawnIfEmulated } from '../drawn.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { goldenJson, wholeGolden } from './files.js'
import { loadTiny } from './tiny-models.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

interface Step {
  do: string
  value: unknown
  of?: string
  eos?: number[]
  minTokensToKeep?: number
}

interface Sequence {
  prompt: number[]
  generated: number[]
  steps: Step[]
}

interface Case extends Sequence {
  name: string
  logits: string
  expected: (number | null)[]
  tied?: number[]
  exact?: boolean
  error?: string
  minTokensToKeep?: number
}

interface Pipeline extends Sequence {
  name: string
  engine: string
  logits: string
  probabilities: (number | null)[]
}

interface Processors {
  logits: Record<string, (number | null)[]>
  cases: Case[]
  pipelines: Pipeline[]
}

const finite = (values: readonly (number | null)[]): number[] =>
  values.map((value) => value ?? Number.NEGATIVE_INFINITY)

const EDITS = [
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
  'badWords',
  'noRepeatNgram',
  'minNewTokens',
]
const FILTERS = ['temperature', 'minP', 'topK', 'topP', 'typicalP']
const MASKS = ['allow', 'suppress']
const isOurs = ({ do: name, of, minTokensToKeep }: Step): boolean =>
  [...EDITS, ...FILTERS, ...MASKS].includes(name) && of === undefined && minTokensToKeep === undefined

function editsOf({ prompt, generated, steps }: Sequence, vocabularySize: number): LogitsEdits {
  const options = Object.fromEntries(
    steps.filter((step) => EDITS.includes(step.do)).map((step) => [step.do, step.value]),
  )
  const stopIds = steps.flatMap(({ eos = [] }) => eos)
  const edits = new LogitsEdits(options as EditOptions, prompt, { stopIds, vocabularySize })
  for (const id of generated) edits.push(id)
  return edits
}

function maskOf(steps: readonly Step[], vocabularySize: number): Int32Array | undefined {
  const step = steps.find(({ do: name }) => MASKS.includes(name))
  if (!step) return undefined
  const named = new Set(step.value as number[])
  const mask = new Int32Array(Math.ceil(vocabularySize / 32))
  for (let id = 0; id < vocabularySize; id++) {
    if (named.has(id) === (step.do === 'allow')) mask[id >> 5]! |= 1 << (id & 31)
  }
  return mask
}

const samplingOf = (steps: readonly Step[]): Sampling => ({
  ...GREEDY,
  temperature: 1,
  ...Object.fromEntries(steps.filter((step) => FILTERS.includes(step.do)).map((step) => [step.do, step.value])),
})

/** The logits after edits and masks. */
async function editedLogits(logits: readonly number[], sequence: Sequence): Promise<number[]> {
  using tensor = Tensor.from(Float32Array.from(logits), [1, logits.length], { device })
  const { changes } = editsOf(sequence, logits.length)
  if (changes) editLogits(tensor, [changes])
  const mask = maskOf(sequence.steps, logits.length)
  if (mask) maskLogits(tensor, [mask])
  return Array.from(await tensor.data(), Number)
}

/** Tokens in the order in which they are drawn, each with its share of the running sum. */
function inOrder(probabilities: readonly number[], logits: readonly number[], { topK, topP }: Sampling) {
  const ids = [...probabilities.keys()].filter((id) => probabilities[id]! > 0)
  if ((topK > 0 && topK < logits.length) || topP < 1) ids.sort((a, b) => logits[b]! - logits[a]! || a - b)
  let sum = 0
  return ids.map((id) => {
    const from = sum
    sum += probabilities[id]!
    return { id, from, to: sum }
  })
}

/** Draws at both ends of each token's share, which finds the tokens that are kept and their probabilities. */
async function expectDrawn(probabilities: readonly number[], logits: readonly number[], sampling: Sampling) {
  const order = inOrder(probabilities, logits, sampling)
  const draws = order
    .filter(({ from, to }) => to - from > 2e-5)
    .flatMap(({ id, from, to }) => [from + (to - from) / 4, to - (to - from) / 4].map((uniform) => ({ id, uniform })))
  const last = order.at(-1)!
  if (last.to - last.from > 1e-9) draws.push({ id: last.id, uniform: 1 - 2 ** -53 })
  const rows = Float32Array.from({ length: draws.length * logits.length }, (_, i) => logits[i % logits.length]!)
  using tensor = Tensor.from(rows, [draws.length, logits.length], { device })
  using ids = sampleTokens(
    tensor,
    draws.map(({ uniform }) => ({ ...sampling, uniform })),
  )
  const drawn = Array.from(await ids.data(), Number)
  // Equal logits are one and the same here: which of them stay is nobody's promise.
  expect(drawn.map((id) => logits[id])).toEqual(draws.map(({ id }) => logits[id]))
}

function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits)
  const weights = logits.map((value) => Math.exp(value - most))
  const sum = weights.reduce((a, b) => a + b)
  return weights.map((weight) => weight / sum)
}

/** Of the tokens that topK keeps, ours are the first k: equal ones do not add to them. */
function firstOnly(expected: readonly number[], { topK }: Sampling): number[] {
  if (topK === 0) return [...expected]
  const ids = [...expected.keys()].sort((a, b) => expected[b]! - expected[a]! || a - b).slice(0, topK)
  return expected.map((value, id) => (ids.includes(id) ? value : Number.NEGATIVE_INFINITY))
}

const { logits: vectors, cases, pipelines } = wholeGolden<Processors>('sampling/processors.json')

/** The probabilities ½, ¼, … meet thresholds exactly, but ln ¼ in float32 is a little less, and so are a GPU's exponentials. */
const isBeyondFloat32 = ({ name, logits, exact }: Case): boolean =>
  exact === true && logits === 'halves' && (device.kind !== 'cpu' || name.startsWith('minP'))

describe('a processor', () => {
  const ours = cases.filter(
    (each) => each.steps.every(isOurs) && each.minTokensToKeep === undefined && !isBeyondFloat32(each),
  )

  test.each(ours.filter(({ error }) => !error).map((each) => [each.name, each] as const))('%s', async (_, each) => {
    const logits = finite(vectors[each.logits]!)
    const wanted = finite(each.expected)
    const got = await editedLogits(logits, each)
    if (each.steps.every(({ do: name }) => !FILTERS.includes(name))) {
      expect(got.map((value) => value === Number.NEGATIVE_INFINITY)).toEqual(
        wanted.map((value) => value === Number.NEGATIVE_INFINITY),
      )
      for (const [id, value] of wanted.entries()) {
        if (value !== Number.NEGATIVE_INFINITY)
          expect(Math.abs(got[id]! - value)).toBeLessThan(1e-6 + 1e-6 * Math.abs(value))
      }
      return
    }
    const sampling = samplingOf(each.steps)
    if (Math.max(...logits) > Number.NEGATIVE_INFINITY) {
      await expectDrawn(softmax(firstOnly(wanted, sampling)), got, sampling)
    } else {
      using tensor = Tensor.from(Float32Array.from(logits), [1, logits.length], { device })
      using ids = sampleTokens(tensor, [{ ...sampling, uniform: 0.5 }])
      expect(await ids.item(), 'no token').toBe(-1)
    }
  })

  test.each(ours.filter(({ error }) => error).map((each) => [each.name, each] as const))('%s', async (_, each) => {
    const logits = finite(vectors[each.logits]!)
    using tensor = Tensor.from(Float32Array.from(logits), [1, logits.length], { device })
    const row = {
      ...samplingOf(each.steps),
      uniform: 0.5,
      changes: editsOf(each, logits.length).changes,
      mask: maskOf(each.steps, logits.length),
    }
    expect(await chooseTokens(tensor, [row])).toMatchObject([{ code: 'no-token-left' }])
  })
})

describe("a pipeline in vLLM's order", () => {
  test.each(pipelines.filter(({ engine }) => engine === 'vllm').map((each) => [each.name, each] as const))(
    '%s',
    async (_, each) => {
      const logits = await editedLogits(finite(vectors[each.logits]!), each)
      await expectDrawn(
        each.probabilities.map((value) => value ?? 0),
        logits,
        samplingOf(each.steps),
      )
    },
  )
})

interface Distribution extends Sequence {
  name: string
  logits: (number | null)[]
  draws: number
  probabilities: number[]
  bins: number[][]
  expectedCounts: number[]
  critical: Record<string, number>
}

test.each(
  drawnIfEmulated(
    'distributions',
    goldenJson<{ cases: Distribution[] }>('sampling/distribution.json').cases.map((each) => [each.name, each] as const),
    2,
  ),
)('tokens are drawn by their probabilities: %s', async (_, each) => {
  const logits = await editedLogits(finite(each.logits), each)
  const rows = Float32Array.from({ length: each.draws * logits.length }, (_, i) => logits[i % logits.length]!)
  using tensor = Tensor.from(rows, [each.draws, logits.length], { device })
  const random = randomStream(1, 'generate')
  const choices = Array.from({ length: each.draws }, () => ({ ...samplingOf(each.steps), uniform: random.uniform() }))
  using ids = sampleTokens(tensor, choices)
  const counts = logits.map(() => 0)
  for (const id of await ids.data()) counts[Number(id)]!++
  expect(counts.filter((count, id) => count > 0 && !(each.probabilities[id]! > 0))).toEqual([])
  const chiSquare = each.bins.reduce((sum, bin, i) => {
    const count = bin.reduce((total, id) => total + counts[id]!, 0)
    return sum + (count - each.expectedCounts[i]!) ** 2 / each.expectedCounts[i]!
  }, 0)
  expect(chiSquare).toBeLessThan(each.critical['0.000001']!)
})

interface Continuation extends Sequence {
  name: string
  model: string
  given: boolean
  promptTokens: (RankedToken | null)[]
  tokens: RankedToken[]
}

function expectRanked(got: readonly RankedToken[], wanted: readonly RankedToken[], allowed: number): void {
  for (const [i, { id, rank, top, logprob }] of wanted.entries()) {
    const token = got[i]!
    expect({ id: token.id, rank: token.rank }).toEqual({ id, rank })
    expect(token.top.map((each) => each.id)).toEqual(top.map((each) => each.id))
    const pairs = [[token.logprob, logprob], ...top.map((each, place) => [token.top[place]!.logprob, each.logprob])]
    for (const [value, expected] of pairs) expect(Math.abs(value! - expected!)).toBeLessThan(allowed)
  }
}

const continuations = wholeGolden<{ cases: Continuation[] }>('sampling/logprobs.json').cases
const tolerances: Record<string, number> = { 'tiny-untied': 1e-5, 'SmolLM2-135M-Instruct.Q4_1': 1e-4 }

describe.each(Object.keys(tolerances))('log-probabilities of %s', (model) => {
  const load = () =>
    model === 'tiny-untied' ? loadTiny(model) : loadModel(assetPath(REAL_MODEL), { dtype: 'float32' })
  const lacks = model === 'tiny-untied' ? null : lacksRealModel
  const own = continuations.filter((each) => each.model === model)

  // The copy of the set beside the tests has the tiny model's alone.
  if (own.length === 0) needing(lacksAsset('golden/sampling/logprobs.json', 'golden data')).test('all', () => {})
  needing(lacks).test.each(own.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    using loaded = await load()
    const { vocabularySize } = loaded.config
    const { prompt, generated, steps, given, tokens } = each
    using cache = loaded.createCache(prompt.length + generated.length)
    const edits = editsOf({ prompt, generated: [], steps }, vocabularySize)
    const got: RankedToken[] = []
    for (const [i, wanted] of generated.entries()) {
      const values = await loaded.nextLogits([...prompt, ...generated.slice(0, i)].slice(cache.length), cache)
      using logits = Tensor.from(values, [1, vocabularySize], { device: loaded.device })
      if (given) {
        got.push(...(await rankTokens(logits, [wanted], 5)))
      } else {
        const row = { ...GREEDY, uniform: 0, changes: edits.changes, topLogprobs: 5 }
        const [chosen] = await chooseTokens(logits, [row])
        expect(chosen).toMatchObject({ id: wanted })
        got.push(chosen as RankedToken)
      }
      edits.push(wanted)
    }
    expectRanked(got, tokens, tolerances[model]!)
    if (model !== 'tiny-untied') return
    for (const [i, wanted] of each.promptTokens.entries()) {
      if (wanted === null) continue
      cache.rewind(i - 1)
      const values = await loaded.nextLogits(prompt.slice(cache.length, i), cache)
      using logits = Tensor.from(values, [1, vocabularySize], { device: loaded.device })
      expectRanked(await rankTokens(logits, [wanted.id], 5), [wanted], tolerances[model]!)
    }
  })
})
