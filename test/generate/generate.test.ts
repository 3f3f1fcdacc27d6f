import { beforeAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import type { Message } from '../../lib/data/templates/template.js'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { Chat, drain, generate, generateStream } from '../../lib/generate/index.js'
import { loadSmallTokenizer, loadTemplate, templatePath } from '../data/tokenizer/small-tokenizer.js'
import { ScriptedModel } from './scripted-model.js'

describe('generate', () => {
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
    const model = new ScriptedModel(tokenizer, [{ prompt, reply: await tokenizer.encodeContinuation(' is wide.') }])
    const result = await generate(model, { prompt: 'The sea' })
    expect(prompt[0]).toBe(tokenizer.bosId)
    expect(result).toMatchObject({ text: ' is wide.', promptTokens: prompt.length, finishReason: 'stop' })
    expect(result.ids).toEqual([...(await tokenizer.encodeContinuation(' is wide.')), tokenizer.eosId])
    expect(result.newTokens).toBe(result.ids.length)
    expect(result.tokensPerSecond).toBeGreaterThan(0)
    expect(model.caches.every(({ disposed }) => disposed)).toBe(true)
  })

  it('T9 renders the chat template and stops at the end of the turn, which is not the EOS', async () => {
    const prompt = await chatIds([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
    ])
    const model = new ScriptedModel(tokenizer, [
      { prompt, reply: await tokenizer.encode('Hello.<|im_end|>\nand on and on') },
    ])
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
    const model = new ScriptedModel(tokenizer, [{ prompt, reply: await tokenizer.encode(`${said}<|im_end|>`) }])
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
    const model = new ScriptedModel(tokenizer, [{ prompt, reply: await tokenizer.encode(' there') }])
    expect((await generate(model, { prompt: 'Hi', template: chatml, raw: true })).text).toBe(' there')
  })

  it('ends at maxNewTokens, at a stop string, and where the model has no position left', async () => {
    const prompt = await tokenizer.encodeText('Count:')
    const reply = await tokenizer.encodeContinuation(' one two three four five six seven')
    const scripts = [{ prompt, reply }]
    const short = await generate(new ScriptedModel(tokenizer, scripts), { prompt: 'Count:', maxNewTokens: 3 })
    expect(short).toMatchObject({ newTokens: 3, finishReason: 'length', ids: reply.slice(0, 3) })
    const stopped = await generate(new ScriptedModel(tokenizer, scripts), { prompt: 'Count:', stop: ' three' })
    expect(stopped).toMatchObject({ text: ' one two', finishReason: 'stop' })
    const full = new ScriptedModel(tokenizer, scripts, { maxPositions: prompt.length + 2 })
    expect(await generate(full, { prompt: 'Count:' })).toMatchObject({ newTokens: 2, finishReason: 'length' })
    const none = new ScriptedModel(tokenizer, scripts, { maxPositions: prompt.length })
    await expect(generate(none, { prompt: 'Count:' })).rejects.toThrow(/leaves no room .* positions; shorten it/)
    // Nothing encodes what cannot fit.
    await expect(generate(none, { prompt: 'a'.repeat(1e6) })).rejects.toThrow(/has 1000000 bytes, .* shorten it/)
  })

  it('streams pieces that make up the text, and stops when the loop is left', async () => {
    const prompt = await tokenizer.encodeText('Say:')
    const text = ' a 🦊 and a 🐢'
    const model = new ScriptedModel(tokenizer, [{ prompt, reply: await tokenizer.encodeContinuation(text) }])
    const pieces: string[] = []
    const result = await drain(generateStream(model, { prompt: 'Say:' }), (piece) => pieces.push(piece))
    expect(pieces.length).toBeGreaterThan(3)
    expect(pieces.join('')).toBe(text)
    expect(result.text).toBe(text)
    for await (const _ of generateStream(model, { prompt: 'Say:' })) break
    expect(model.caches.every(({ disposed }) => disposed)).toBe(true)
  })

  it('requests each token with the options and the next random number of the seed', async () => {
    const prompt = await tokenizer.encodeText('Say:')
    const model = new ScriptedModel(tokenizer, [
      { prompt, reply: await tokenizer.encodeContinuation(' one two three') },
    ])
    const sampling = { temperature: 0.7, topK: 5, topP: 0.9, minP: 0.01, typicalP: 0.99 }
    const { ids } = await generate(model, { prompt: 'Say:', seed: 3, ...sampling })
    const random = randomStream(3, 'generate')
    expect(model.choices).toEqual(ids.map(() => ({ ...sampling, uniform: random.uniform() })))
    model.choices.length = 0
    await generate(model, { prompt: 'Say:', seed: 3 })
    expect(model.choices).toEqual(
      ids.map(() => ({ temperature: 0, topK: 0, topP: 1, minP: 0, typicalP: 1, uniform: 0 })),
    )
  })

  it('reads a long prompt in parts', async () => {
    const text = 'word '.repeat(700)
    const model = new ScriptedModel(tokenizer, [], { maxPositions: 8192 })
    const { promptTokens } = await generate(model, { prompt: text, maxNewTokens: 1 })
    expect(model.reads.length).toBeGreaterThan(1)
    expect(model.reads.reduce((a, b) => a + b)).toBe(promptTokens)
  })

  it('T29 warns where the adapter was trained with another template', async () => {
    const model = new ScriptedModel(tokenizer, [])
    const warnings: string[] = []
    const call = { prompt: 'Hi', template: chatml, onWarning: (message: string) => warnings.push(message) }
    model.provenance.templateHash = (await loadTemplate('chatml', tokenizer)).hash
    await generate(model, call)
    expect(warnings).toEqual([])
    model.provenance.templateHash = 'another'
    await generate(model, call)
    expect(warnings).toEqual([expect.stringContaining('The adapter math was trained with another chat template')])
  })

  it('refuses what does not fit together', async () => {
    const model = new ScriptedModel(tokenizer, [])
    const messages = [{ role: 'user', content: 'Hi' }]
    await expect(generate(model, {})).rejects.toThrow(/either a prompt or messages/)
    await expect(generate(model, { messages })).rejects.toThrow(/Messages need a chat template/)
    await expect(generate(model, { prompt: 'Hi', system: 'S' })).rejects.toThrow(/system message needs a chat template/)
    await expect(generate(model, { prompt: 'Hi', system: 'S', raw: true })).rejects.toThrow(
      /raw cannot be combined with/,
    )
    await expect(generate(model, { prompt: 'Hi', temperature: -1 })).rejects.toThrow(/temperature/)
    const mute = Object.assign(new ScriptedModel(tokenizer, []), { tokenizer: null })
    await expect(generate(mute, { prompt: 'Hi' })).rejects.toThrow(/has no tokenizer/)
    for (const option of [{ stop: 'x' }, { badWords: ['x'] }, { choices: ['x', 'y'] }])
      await expect(generate(mute, { prompt: [5, 6], ...option })).rejects.toThrow(/has no tokenizer/)
  })

  it('continues ids without a tokenizer, and says that there is no text', async () => {
    const model = new ScriptedModel(tokenizer, [{ prompt: [5, 6], reply: [7, 8] }])
    const mute = Object.assign(model, { tokenizer: null })
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
    const first = [{ role: 'user', content: 'My name is Ada.' }]
    const second = [
      ...first,
      { role: 'assistant', content: 'Hello, Ada.' },
      { role: 'user', content: 'What is my name?' },
    ]
    const [one, two] = [await chatIds(first), await chatIds(second)]
    const model = new ScriptedModel(tokenizer, [
      { prompt: two, reply: await tokenizer.encode('Ada.<|im_end|>') },
      { prompt: one, reply: await tokenizer.encode('Hello, Ada.<|im_end|>') },
    ])
    using chat = new Chat(model, { template: chatml })
    expect((await drain(chat.say('My name is Ada.'))).text).toBe('Hello, Ada.')
    const before = model.reads.length
    expect((await drain(chat.say('What is my name?'))).text).toBe('Ada.')
    expect(model.reads[before]).toBeLessThanOrEqual(two.length - one.length)
    expect(chat.messages).toHaveLength(4)
    chat.reset()
    expect((await drain(chat.say('My name is Ada.'))).text).toBe('Hello, Ada.')
  })

  it('a chat needs a template', async () => {
    using chat = new Chat(new ScriptedModel(tokenizer, []))
    await expect(drain(chat.say('Hi'))).rejects.toThrow(/A chat needs a chat template/)
  })
})
