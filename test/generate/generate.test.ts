import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { randomStream } from '../../lib/common/random.js'
import { PAGE } from '../../lib/engine/index.js'
import { Chat, drain, GREEDY, generate, generateStream, type TokenChoice } from '../../lib/generate/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Message } from '../../lib/text/template.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { loadSmallTokenizer, loadTemplate, templatePath } from '../text/tokenizer/small-tokenizer.js'
import { loadScripted } from './scripted-model.js'

describe('generate', () => {
  afterEach(() => vi.restoreAllMocks())
  afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

  /** Returns how many tokens each forward pass reads from now on. */
  const watchReads = () => {
    const read = vi.spyOn(ForwardPasses.prototype, 'nextLogitsOf')
    return () => read.mock.calls.map(([parts]) => parts.reduce((sum, { ids }) => sum + ids.length, 0))
  }

  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadSmallTokenizer()
  })

  const chatml = templatePath('chatml')
  const chatIds = async (messages: Message[]) =>
    await tokenizer.encode(
      await (await loadTemplate('chatml', tokenizer)).render(messages, { addGenerationPrompt: true }),
    )

  it('continues a prompt unchanged, with BOS, if there is no template', async () => {
    const prompt = await tokenizer.encodeText('The sea')
    using model = await loadScripted([{ prompt, reply: await tokenizer.encodeContinuation(' is wide.') }])
    const before = liveBytes(model.device)
    const result = await generate(model, { prompt: 'The sea' })
    expect(prompt[0]).toBe(tokenizer.bosId)
    expect(result).toMatchObject({ text: ' is wide.', promptTokens: prompt.length, finishReason: 'stop' })
    expect(result.ids).toEqual([...(await tokenizer.encodeContinuation(' is wide.')), tokenizer.eosId])
    expect(result.newTokens).toBe(result.ids.length)
    expect(result.tokensPerSecond).toBeGreaterThan(0)
    expect(liveBytes(model.device)).toBe(before)
  })

  it('T9 renders the chat template and stops at the end of the turn, which is not the EOS', async () => {
    const prompt = await chatIds([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
    ])
    using model = await loadScripted([{ prompt, reply: await tokenizer.encode('Hello.<|im_end|>\nand on and on') }])
    const result = await generate(model, { prompt: 'Hi', system: 'Be brief.', template: chatml })
    expect(result).toMatchObject({ text: 'Hello.', finishReason: 'stop', promptTokens: prompt.length })
    expect(result.ids.at(-1)).toBe(tokenizer.idOf('<|im_end|>'))
  })

  it('reads calls of functions apart from the text, by the form of the template', async () => {
    const template = templatePath('calling')
    const parameters = { type: 'object', properties: { a: { type: 'number' } } }
    const tools = [{ type: 'function', function: { name: 'add', parameters } }]
    const messages = [{ role: 'user', content: 'Add.' }]
    const rendered = await (await loadTemplate('calling', tokenizer)).render(messages, { addGenerationPrompt: true })
    const prompt = await tokenizer.encode(rendered)
    const said = 'So:\n<tool_call>\n{"name": "add", "arguments": {"a": 1.0}}\n</tool_call>'
    using model = await loadScripted([{ prompt, reply: await tokenizer.encode(`${said}<|im_end|>`) }])
    const call = { messages, tools, template, maxNewTokens: 200 }
    expect(await generate(model, call)).toMatchObject({
      finishReason: 'tool_calls',
      text: 'So:',
      toolCalls: [{ name: 'add', arguments: { a: 1 }, argumentsText: '{"a": 1.0}' }],
    })
    const pieces: string[] = []
    for await (const piece of generateStream(model, call)) pieces.push(piece)
    expect(pieces.join('')).toBe('So:')
    const plain = await generate(model, { ...call, parse: false })
    expect(plain).toMatchObject({ finishReason: 'stop', text: said })
  })

  it('raw ignores the template', async () => {
    const prompt = await tokenizer.encodeText('Hi')
    using model = await loadScripted([{ prompt, reply: await tokenizer.encode(' there') }])
    expect((await generate(model, { prompt: 'Hi', template: chatml, raw: true })).text).toBe(' there')
  })

  it('ends at maxNewTokens, at a stop string, and where the model has no position left', async () => {
    const prompt = await tokenizer.encodeText('Count:')
    const reply = await tokenizer.encodeContinuation(' one two three four five six seven')
    const scripts = [{ prompt, reply }]
    using model = await loadScripted(scripts)
    const short = await generate(model, { prompt: 'Count:', maxNewTokens: 3 })
    expect(short).toMatchObject({ newTokens: 3, finishReason: 'length', ids: reply.slice(0, 3) })
    const stopped = await generate(model, { prompt: 'Count:', stop: ' three' })
    expect(stopped).toMatchObject({ text: ' one two', finishReason: 'stop' })
    const shown = await generate(model, { prompt: 'Count:', stop: ' three', includeStop: true })
    expect(shown).toMatchObject({ text: ' one two three', ids: stopped.ids })
    const byToken = await generate(model, { prompt: 'Count:', stopTokens: reply[2] })
    expect(byToken).toMatchObject({ ids: reply.slice(0, 3), finishReason: 'stop' })
    const on = await generate(model, { prompt: 'Count:', ignoreEos: true, maxNewTokens: reply.length + 3 })
    expect(on).toMatchObject({ newTokens: reply.length + 3, finishReason: 'length' })
    expect(on.ids.slice(0, reply.length)).toEqual(reply)
    using full = await loadScripted(scripts, { maxPositions: prompt.length + 2 })
    expect(await generate(full, { prompt: 'Count:' })).toMatchObject({ newTokens: 2, finishReason: 'length' })
    using none = await loadScripted(scripts, { maxPositions: prompt.length })
    await expect(generate(none, { prompt: 'Count:' })).rejects.toThrow(/leaves no room .* positions; shorten it/)
    // Nothing encodes what cannot fit.
    await expect(generate(none, { prompt: 'a'.repeat(1e6) })).rejects.toThrow(
      /has at least \d+ tokens, .* reads at most \d+; shorten it/,
    )
  })

  it('streams pieces that make up the text, and stops when the loop is left', async () => {
    const prompt = await tokenizer.encodeText('Say:')
    const text = ' a 🦊 and a 🐢'
    using model = await loadScripted([{ prompt, reply: await tokenizer.encodeContinuation(text) }])
    const before = liveBytes(model.device)
    const pieces: string[] = []
    const result = await drain(generateStream(model, { prompt: 'Say:' }), (piece) => pieces.push(piece))
    expect(pieces.length).toBeGreaterThan(3)
    expect(pieces.join('')).toBe(text)
    expect(result.text).toBe(text)
    for await (const _ of generateStream(model, { prompt: 'Say:' })) break
    expect(liveBytes(model.device)).toBe(before)
  })

  it('chooses each token with the options and the next random number of the seed', async () => {
    const prompt = await tokenizer.encodeText('Say:')
    using model = await loadScripted([{ prompt, reply: await tokenizer.encodeContinuation(' one two three') }])
    const drawn = async (sampling: Omit<TokenChoice, 'uniform'>) => {
      const random = randomStream(3, 'generate')
      using cache = model.createCache(100)
      const ids = [await model.nextToken(prompt, cache, { ...sampling, uniform: random.uniform() })]
      while (ids.length < 12)
        ids.push(await model.nextToken([ids.at(-1)!], cache, { ...sampling, uniform: random.uniform() }))
      return ids
    }
    const call = { prompt: 'Say:', seed: 3, maxNewTokens: 12 }
    const greedy = await generate(model, call)
    expect(greedy.ids).toEqual((await drawn(GREEDY)).slice(0, greedy.ids.length))
    const mild = { temperature: 0.7, topK: 5, topP: 0.9, minP: 0.01, typicalP: 0.99 }
    for (const sampling of [
      { ...mild, temperature: 4, topP: 1 },
      { ...mild, temperature: 4, topK: 0, typicalP: 0.5 },
      { ...mild, temperature: 4, topK: 0, topP: 1, minP: 0 },
      { ...mild, temperature: 9, topK: 0, minP: 0 },
      { temperature: 9, topK: 0, topP: 1, topNSigma: 3 },
    ]) {
      const { ids } = await generate(model, { ...call, ...sampling })
      expect(ids).toEqual((await drawn(sampling)).slice(0, ids.length))
      expect(ids).not.toEqual(greedy.ids)
    }
    expect((await generate(model, { ...call, ...mild })).ids).toEqual(greedy.ids)
    expect((await generate(model, { ...call, temperature: 9, topNSigma: 0.01 })).ids).toEqual(greedy.ids)
  })

  it('reads a long prompt in parts', async () => {
    using model = await loadScripted([], { maxPositions: 8192 })
    const reads = watchReads()
    const { promptTokens } = await generate(model, { prompt: 'word '.repeat(700), maxNewTokens: 1 })
    expect(reads().length).toBeGreaterThan(1)
    expect(reads().reduce((a, b) => a + b)).toBe(promptTokens)
  })

  it('T29 warns where the adapter was trained with another template', async () => {
    using model = await loadScripted([])
    await model.addAdapter('math', lora({ rank: 2 }))
    const warnings: string[] = []
    const call = { prompt: 'Hi', template: chatml, onWarning: (message: string) => warnings.push(message) }
    model.adapterSet.recordTemplate('math', (await loadTemplate('chatml', tokenizer)).hash)
    await generate(model, call)
    expect(warnings).toEqual([])
    model.adapterSet.recordTemplate('math', 'another')
    await generate(model, call)
    expect(warnings).toEqual([expect.stringContaining('The adapter math was trained with another chat template')])
  })

  it('refuses what does not fit together', async () => {
    using model = await loadScripted([])
    const messages = [{ role: 'user', content: 'Hi' }]
    await expect(generate(model, {})).rejects.toThrow(/either a prompt or messages/)
    await expect(generate(model, { messages })).rejects.toThrow(/Messages need a chat template/)
    await expect(generate(model, { prompt: 'Hi', system: 'S' })).rejects.toThrow(/system message needs a chat template/)
    const tools = [{ type: 'function' as const, function: { name: 'f' } }]
    await expect(generate(model, { prompt: 'Hi', tools })).rejects.toThrow(/Tools need a chat template/)
    const template = templatePath('chatml')
    await expect(generate(model, { prompt: 'Hi', tools, template })).rejects.toThrow(
      /prints no tools.* leave out tools,/,
    )
    const content = [{ type: 'image_url', image_url: { url: 'x' } }] as unknown as string
    await expect(generate(model, { messages: [{ role: 'user', content }], template })).rejects.toThrow(
      /^Expected a list of messages, each with a role and texts as content for messages but received/,
    )
    await expect(generate(model, { prompts: [] })).rejects.toThrow(/^Expected a list of prompts that is not empty for/)
    const templateOptions = { enable_thinking: false }
    await expect(generate(model, { prompt: 'Hi', templateOptions })).rejects.toThrow(
      /Options of a template need a chat/,
    )
    await expect(generate(model, { prompt: 'Hi', system: 'S', raw: true })).rejects.toThrow(
      /raw cannot be combined with/,
    )
    await expect(generate(model, { prompt: 'Hi', temperature: -1 })).rejects.toThrow(/temperature/)
    await expect(generate(model, { prompt: 'Hi', maxNewTokens: 4, minNewTokens: 5 })).rejects.toThrow(
      'Expected the option minNewTokens to be at most maxNewTokens, which is 4, but received 5.',
    )
    await expect(generate(model, { prompt: [] })).rejects.toThrow(
      'The prompt has no tokens, so there is nothing to continue; give the id of one at least.',
    )
    using mute = await loadScripted([], { withTokenizer: false })
    await expect(generate(mute, { prompt: 'Hi' })).rejects.toThrow(/has no tokenizer/)
    for (const option of [{ stop: 'x' }, { badWords: ['x'] }, { choices: ['x', 'y'] }])
      await expect(generate(mute, { prompt: [5, 6], ...option })).rejects.toThrow(/has no tokenizer/)
  })

  it('continues ids without a tokenizer, and says that there is no text', async () => {
    using mute = await loadScripted([{ prompt: [5, 6], reply: [7, 8] }], { withTokenizer: false })
    const said: string[] = []
    const { text, ids } = await generate(mute, {
      prompt: [5, 6],
      maxNewTokens: 2,
      onWarning: (message) => said.push(message),
    })
    expect({ text, ids }).toEqual({ text: '', ids: [7, 8] })
    expect(said).toEqual([expect.stringMatching(/no tokenizer, so texts are empty/)])
  })

  it('a chat remembers, and reads only what is new', async () => {
    const name = 'My name is Ada Augusta Byron King, Countess of Lovelace, and I write programs for a machine of brass.'
    const first = [{ role: 'user', content: name }]
    const second = [
      ...first,
      { role: 'assistant', content: 'Hello, Ada.' },
      { role: 'user', content: 'What is my name?' },
    ]
    const [one, two] = [await chatIds(first), await chatIds(second)]
    using model = await loadScripted([
      { prompt: two, reply: await tokenizer.encode('Ada.<|im_end|>') },
      { prompt: one, reply: await tokenizer.encode('Hello, Ada.<|im_end|>') },
    ])
    using chat = new Chat(model, { template: chatml })
    expect((await drain(chat.say(name))).text).toBe('Hello, Ada.')
    const reads = watchReads()
    expect((await drain(chat.say('What is my name?'))).text).toBe('Ada.')
    // Whole pages are found again.
    const pages = Math.floor(one.length / PAGE)
    expect(pages).toBeGreaterThan(0)
    const written = (await tokenizer.encode('Ada.')).length
    expect(reads().reduce((a, b) => a + b)).toBe(two.length - pages * PAGE + written)
    expect(chat.messages).toHaveLength(4)
    chat.reset()
    expect((await drain(chat.say(name))).text).toBe('Hello, Ada.')
  })

  it('a chat needs a template', async () => {
    using model = await loadScripted([])
    using chat = new Chat(model)
    await expect(drain(chat.say('Hi'))).rejects.toThrow(/A chat needs a chat template/)
  })
})
