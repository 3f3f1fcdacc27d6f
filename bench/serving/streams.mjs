import { serveToClient } from './client.mjs'

/**
 * Serves the model to a client in a process of its own. Returns a function that has the client read the answers to `prompts` as streams,
 * all at once, and resolves with the seconds from the last answer's first token to the end of all; and one that ends both.
 * @param {any} model
 * @param {{ sequences: number, newTokens: number }} options the most sequences at once, and the tokens of each after the first
 */
export async function openStreams(model, { sequences, newTokens }) {
  const { client, origin, close } = await serveToClient(model, 'streams-client.mjs', { maxBatch: sequences })
  const settings = { model: 'base', max_tokens: newTokens + 1, temperature: 0, ignore_eos: true, stream: true }
  return {
    read: (/** @type {number[][]} */ prompts) => {
      const bodies = prompts.map((prompt) => JSON.stringify({ ...settings, prompt }))
      return client.ask({ url: `${origin}/v1/completions`, bodies })
    },
    close,
  }
}
