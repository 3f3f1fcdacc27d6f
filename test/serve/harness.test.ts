/** What lm-evaluation-harness sends, answered by the real model as the golden data has it. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect } from 'vitest'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import { type ModelServer, serve } from '../../lib/serve/index.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { needing } from '../needs.js'

interface Choice {
  text?: string
  message?: { content: string }
  finish_reason: string
  logprobs?: { token_logprobs: (number | null)[]; top_logprobs: (Record<string, number> | null)[] } | null
}
interface Call {
  path: string
  body: object
  response: { choices: Choice[]; usage: { prompt_tokens: number } }
}

const file = 'golden/evaluation/requests.json'
const lacks = [lacksRealModel, lacksAsset(file, 'golden data')]
const { cases } = lacks.every((lack) => lack === null)
  ? (JSON.parse(readFileSync(assetPath(file), 'utf8')) as { cases: { call: string; calls: Call[] }[] })
  : { cases: [] }
const calls = cases.flatMap(({ call, calls }, i) =>
  calls
    .filter(({ path }) => path.endsWith('completions'))
    .map((one, at) => [`case ${i}, ${call}, ${at}`, one] as const),
)

needing(...lacks).describe('the harness', () => {
  let model: Model
  let server: ModelServer
  beforeAll(async () => {
    model = await loadModel(assetPath(REAL_MODEL), { device: 'cpu', dtype: 'float32', quantised: false })
    server = serve(model, { name: 'smol' })
  })
  afterAll(async () => {
    await server.close()
    model.dispose()
  })

  // Without the data there is no case, and this one says what is missing.
  needing(...lacks).test('its calls were recorded', () => expect(calls).not.toEqual([]))

  needing(...lacks).test.each(calls)('%s', async (_, { path, body, response }) => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const answer = await server.fetch(new Request(`http://any${path}`, init))
    const { choices, usage } = (await answer.json()) as Call['response']
    expect(answer.status).toBe(200)
    const said = ({ text, message, finish_reason: reason }: Choice) => [text ?? message?.content, reason]
    expect(choices.map(said)).toEqual(response.choices.map(said))
    // Whether the token that ends a text counts among its own is nobody's promise.
    expect(usage.prompt_tokens).toBe(response.usage.prompt_tokens)
    for (const [i, { logprobs }] of response.choices.entries()) {
      if (!logprobs) continue
      const got = choices[i]!.logprobs!
      expect(got.token_logprobs).toHaveLength(logprobs.token_logprobs.length)
      for (const [at, logprob] of logprobs.token_logprobs.entries()) {
        const [own, top] = [got.token_logprobs[at]!, got.top_logprobs[at]!]
        if (logprob === null) {
          expect([own, top]).toEqual([null, null])
          continue
        }
        expect(Math.abs(own - logprob), `token ${at}`).toBeLessThan(2e-4)
        // The harness takes a token to be the likeliest if the same number is the largest of the map.
        const isBest = logprob === Math.max(...Object.values(logprobs.top_logprobs[at]!))
        expect(own === Math.max(...Object.values(top)), `token ${at} is the likeliest`).toBe(isBest)
      }
    }
  })
})
