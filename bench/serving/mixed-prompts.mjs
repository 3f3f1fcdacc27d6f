import { randomStream } from 'node-mora'
import { Engine } from '../common/internals.mjs'
import { takeTurns, timedSides } from '../common/turns.mjs'

/** Lengths of prompts that come at once. */
const LENGTHS = Array.from({ length: 16 }, (_, i) => 16 + Math.round((i * 496) / 15))
/** Tokens of all of them. */
export const MIXED_TOKENS = LENGTHS.reduce((sum, length) => sum + length, 0)

/**
 * Times an engine that reads prompts of 16 to 512 tokens at once, beside one prompt of as many tokens.
 * @param {any} model
 * @param {number[]} text MIXED_TOKENS tokens
 * @param {number} rounds
 */
export async function readMixedPrompts(model, text, rounds) {
  let at = 0
  const prompts = LENGTHS.map((length) => {
    at += length
    return text.slice(at - length, at)
  })
  // Neighbours differ in length, as requests do.
  const mixed = prompts.map((_, i) => prompts[(i * 7) % prompts.length])
  const sides = [
    { name: 'mixed prompts', run: () => secondsToRead(model, mixed) },
    { name: 'one prompt', run: () => secondsToRead(model, [text]) },
  ]
  return timedSides(sides, await takeTurns(sides, rounds))
}

async function secondsToRead(model, prompts) {
  const engine = new Engine(model)
  const sampling = { temperature: 0, topK: 0, topP: 1 }
  const random = randomStream(0, 'greedy')
  const start = performance.now()
  await Promise.all(
    prompts.map(async (ids) => {
      for await (const _ of engine.write({ ids, maxNewTokens: 1, sampling, stopIds: new Set(), random }));
    }),
  )
  const seconds = (performance.now() - start) / 1000
  await engine.close()
  return { seconds }
}
