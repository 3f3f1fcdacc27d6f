import { stopwatch } from './stopwatch.mjs'

/** Seconds of choosing the first token after a prompt, and of choosing `newTokens` more; and all of them. */
export async function generate(model, ids, newTokens) {
  const cache = model.createCache(ids.length + newTokens)
  const likeliest = { temperature: 0, topK: 0, topP: 1, uniform: 0 }
  const lap = stopwatch()
  const chosen = [await model.nextToken(ids, cache, likeliest)]
  const prefill = lap()
  for (let i = 0; i < newTokens; i++) chosen.push(await model.nextToken([chosen.at(-1)], cache, likeliest))
  const decode = lap()
  cache.dispose()
  return { prefill, decode, ids: chosen }
}
