import { getEventListeners } from 'node:events'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { PAGE } from '../../lib/engine/index.js'
import { Chat, generate, generateStream } from '../../lib/generate/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Message } from '../../lib/text/template.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { loadSmallTokenizer, loadTemplate, templatePath } from '../text/tokenizer/small-tokenizer.js'
import { loadScripted } from './scripted-model.js'

const REASON = new Error('enough')
const template = templatePath('chatml')

describe('a signal', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadSmallTokenizer()
  })
  afterEach(() => vi.restoreAllMocks())
  afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

  /** A model of more than ten words, and a signal that is aborted in this forward pass. */
  async function aborting(after: number, prompt = 'Count:') {
    const controller = new AbortController()
    const ids = await tokenizer.encodeText(prompt)
    const reply = await tokenizer.encodeContinuation(' one two three four five six seven eight nine ten')
    const model = await loadScripted([{ prompt: ids, reply }])
    const { nextLogitsOf } = ForwardPasses.prototype
    const read = vi.spyOn(ForwardPasses.prototype, 'nextLogitsOf').mockImplementation(function (
      this: ForwardPasses,
      ...call
    ) {
      if (read.mock.calls.length === after) controller.abort(REASON)
      return nextLogitsOf.apply(this, call)
    })
    const reads = () => read.mock.calls.map(([[part]]) => part!.ids.length)
    return { model, controller, signal: controller.signal, prompt, reads, bytes: liveBytes(model.device) }
  }

  it('ends generate before the next token, and frees the memory', async () => {
    const { model, signal, prompt, reads, bytes } = await aborting(3)
    await expect(generate(model, { prompt, signal })).rejects.toBe(REASON)
    expect(reads().length).toBe(3)
    expect(liveBytes(model.device)).toBe(bytes)
    expect(getEventListeners(signal, 'abort')).toEqual([])
    model.dispose()
  })

  it('ends generateStream also between two pieces that are read', async () => {
    const { model, controller, signal, prompt, reads, bytes } = await aborting(Number.POSITIVE_INFINITY)
    const read = async () => {
      for await (const _ of generateStream(model, { prompt, signal })) controller.abort(REASON)
    }
    await expect(read()).rejects.toBe(REASON)
    // Passes that had begun end.
    expect(reads().length).toBeLessThan(10)
    expect(liveBytes(model.device)).toBe(bytes)
    model.dispose()
  })

  it('ends the reading of a long prompt between its parts', async () => {
    const { model, signal, prompt, reads } = await aborting(1, 'word '.repeat(250))
    await expect(generate(model, { prompt, signal, maxNewTokens: 1 })).rejects.toBe(REASON)
    expect(reads()).toEqual([PAGE])
    model.dispose()
  })

  it('that is aborted already ends everything before the model is asked', async () => {
    const { model, prompt, reads } = await aborting(1)
    const signal = AbortSignal.abort(REASON)
    await expect(generate(model, { prompt, signal })).rejects.toBe(REASON)
    const chat = new Chat(model, { template })
    await expect(chat.say('Hi', { signal }).next()).rejects.toBe(REASON)
    expect(reads()).toEqual([])
    chat.dispose()
    model.dispose()
  })

  it('of another type is refused, and a chat accepts one with each message', async () => {
    const { model, prompt, signal } = await aborting(1)
    const wrong = { prompt, signal: 1 as unknown as AbortSignal }
    await expect(generate(model, wrong)).rejects.toThrow(/^Expected an AbortSignal for signal but received 1\.$/)
    expect(() => new Chat(model, { template, signal } as object)).toThrow(/signal/)
    model.dispose()
  })

  it('ends the answer of a chat, which keeps the part so far; the chat goes on', async () => {
    const controller = new AbortController()
    const { signal } = controller
    const chatml = await loadTemplate('chatml', tokenizer)
    const script = async (messages: Message[], reply: string) => ({
      prompt: await tokenizer.encode(await chatml.render(messages, { addGenerationPrompt: true })),
      reply: await tokenizer.encode(reply),
    })
    const hi = { role: 'user', content: 'Hi' }
    const continued = (part: string) => [
      hi,
      { role: 'assistant', content: part },
      { role: 'user', content: 'And now?' },
    ]
    const parts = [2, 3, 4, 5].map((count) => ' o'.repeat(count))
    using model = await loadScripted([
      await script([hi], ' o'.repeat(30)),
      ...(await Promise.all(parts.map((part) => script(continued(part), 'Yes.<|im_end|>')))),
    ])
    using chat = new Chat(model, { template, maxNewTokens: 20 })
    const pieces: string[] = []
    const read = async () => {
      for await (const piece of chat.say('Hi', { signal })) if (pieces.push(piece) === 2) controller.abort(REASON)
    }
    await expect(read()).rejects.toBe(REASON)
    // The pass that had begun may still write a token.
    expect(parts).toContain(pieces.join(''))
    expect(chat.messages).toEqual([hi, { role: 'assistant', content: pieces.join('') }])
    for await (const _ of chat.say('And now?')) await null
    expect(chat.messages).toEqual([...continued(pieces.join('')), { role: 'assistant', content: 'Yes.' }])
  })
})
