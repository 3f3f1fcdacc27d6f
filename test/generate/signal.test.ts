import { getEventListeners } from 'node:events'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { Chat, generate, generateStream } from '../../lib/generate/index.js'
import { loadSmallTokenizer, templatePath } from '../data/tokenizer/small-tokenizer.js'
import { ScriptedModel } from './scripted-model.js'

const REASON = new Error('enough')
const template = templatePath('chatml')

describe('a signal', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadSmallTokenizer()
  })

  /** Generates more than ten words, and aborts once this many tokens were chosen. */
  async function aborting(after: number, prompt = 'Count:') {
    const controller = new AbortController()
    const ids = await tokenizer.encodeText(prompt)
    const reply = await tokenizer.encodeContinuation(' one two three four five six seven eight nine ten')
    const model = new ScriptedModel(tokenizer, [{ prompt: ids, reply }])
    const { nextToken } = model
    model.nextToken = async (...call) => {
      const id = await nextToken.apply(model, call)
      if (model.choices.length === after) controller.abort(REASON)
      return id
    }
    return { model, controller, signal: controller.signal, prompt }
  }

  it('ends generate before the next token, and frees the cache', async () => {
    const { model, signal, prompt } = await aborting(3)
    await expect(generate(model, { prompt, signal })).rejects.toBe(REASON)
    expect(model.choices.length).toBe(3)
    expect(model.caches.map(({ disposed }) => disposed)).toEqual([true])
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  it('ends generateStream also between two pieces that are read', async () => {
    const { model, controller, signal, prompt } = await aborting(Number.POSITIVE_INFINITY)
    const read = async () => {
      for await (const _ of generateStream(model, { prompt, signal })) controller.abort(REASON)
    }
    await expect(read()).rejects.toBe(REASON)
    expect(model.choices.length).toBe(1)
    expect(model.caches[0]!.disposed).toBe(true)
  })

  it('ends the reading of a long prompt between its parts', async () => {
    const { model, signal, prompt } = await aborting(1, 'word '.repeat(250))
    await expect(generate(model, { prompt, signal, maxNewTokens: 1 })).rejects.toBe(REASON)
    expect(model.reads).toEqual([512])
  })

  it('that is aborted already ends everything before the model is asked', async () => {
    const { model, prompt } = await aborting(1)
    const signal = AbortSignal.abort(REASON)
    await expect(generate(model, { prompt, signal })).rejects.toBe(REASON)
    using chat = new Chat(model, { template })
    await expect(chat.say('Hi', { signal }).next()).rejects.toBe(REASON)
    expect(model.caches).toEqual([])
  })

  it('of another type is refused, and a chat accepts one with each message', async () => {
    const { model, prompt, signal } = await aborting(1)
    const wrong = { prompt, signal: 1 as unknown as AbortSignal }
    await expect(generate(model, wrong)).rejects.toThrow(/^Expected an AbortSignal for signal but received 1\.$/)
    expect(() => new Chat(model, { template, signal } as object)).toThrow(/signal/)
  })

  it('ends the answer of a chat, which keeps the part so far; the chat goes on', async () => {
    const { model, controller, signal } = await aborting(Number.POSITIVE_INFINITY)
    // Whatever is asked, the answer is the same.
    model.nextToken = async (_, cache, choice) => {
      model.choices.push(choice)
      cache.rewind(1)
      return (await tokenizer.encode(' o'))[0]!
    }
    using chat = new Chat(model, { template, maxNewTokens: 4 })
    const read = async () => {
      for await (const _ of chat.say('Hi', { signal })) if (model.choices.length === 2) controller.abort(REASON)
    }
    await expect(read()).rejects.toBe(REASON)
    expect(chat.messages).toEqual([
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: ' o o' },
    ])
    expect(model.caches.every(({ disposed }) => disposed)).toBe(true)
    for await (const _ of chat.say('And now?')) await null
    expect(chat.messages.length).toBe(4)
  })
})
