import { describe, expect, it } from 'vitest'
import { ChatTemplate } from '../../../lib/text/template.js'
import { answerForm } from '../../../lib/text/tool-calls/find-form.js'
import { answerMessage } from '../../../lib/text/tool-calls/message.js'
import { AnswerReader, parseAnswer } from '../../../lib/text/tool-calls/reader.js'
import { namedForm } from './tool-cases.js'

const tools = [
  { name: 'add', parameters: { properties: { a: { type: 'number' }, b: { type: 'number' } } } },
  {
    name: 'add_all',
    parameters: { properties: { numbers: { type: 'array' }, note: { anyOf: [{ type: 'string' }, { type: 'null' }] } } },
  },
]
const read = (text: string, form: string) => parseAnswer(text, { form: namedForm(form), tools })

/** What each character of an answer makes certain. */
function characters(text: string, form: string): string[] {
  const reader = new AnswerReader({ form: namedForm(form), tools })
  const deltas = [...[...text].map((letter) => reader.push(letter)), reader.end()]
  return deltas.map(({ content, reasoning, toolCalls }) =>
    [content, reasoning && `(${reasoning})`, ...toolCalls.map(({ name }) => `!${name}`)].join(''),
  )
}

describe('an answer in pieces', () => {
  it('holds back only what may begin a call', () => {
    expect(characters('a <b <tool', 'hermes')).toEqual(['a', '', '', ' <b', '', '', '', '', '', '', ' <tool'])
  })

  it('holds back white space, and passes it on before text', () => {
    expect(characters('a\n\nb\n', 'hermes')).toEqual(['a', '', '', '\n\nb', '', '\n'])
  })

  it('passes a call on with its last character, and none of it as content', () => {
    const call = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    const said = characters(`a ${call} b`, 'hermes')
    expect(said[0]).toBe('a')
    expect(said.slice(1, 1 + call.length)).toEqual(Array(call.length).fill(''))
    expect(said.slice(1 + call.length)).toEqual(['!add', '', ' b', ''])
  })

  it('passes on what is no call as soon as that is certain', () => {
    expect(characters('<tool_call>x', 'hermes').at(-2)).toBe('<tool_call>x')
    expect(characters('{"sum"', 'llama').at(-1)).toBe('{"sum"')
    expect(characters('{"sum":', 'llama').slice(0, -1).join('')).toBe('')
    expect(characters('{"sum":1,', 'llama').at(-2)).toBe('{"sum":1,')
  })

  it('passes reasoning on as it comes', () => {
    expect(characters('<think>\nab</think>c', 'hermes').filter((piece) => piece)).toEqual(['(a)', '(b)', 'c'])
  })

  it('takes no more after its end', () => {
    const reader = new AnswerReader({ form: namedForm('hermes') })
    reader.end()
    expect(() => reader.push('a')).toThrow(expect.objectContaining({ code: 'ended' }))
  })

  it('reads the calls of a list one by one', () => {
    const said = characters(
      '[TOOL_CALLS][{"name": "add", "arguments": {}}, {"name": "add_all", "arguments": {}}]',
      'mistral',
    )
    expect(said.filter((piece) => piece)).toEqual(['!add', '!add_all'])
    expect(said.indexOf('!add')).toBe('[TOOL_CALLS][{"name": "add", "arguments": {}}'.length - 1)
  })
})

describe('what is said', () => {
  it('stays in the content where a list of calls has others', () => {
    const list = '[TOOL_CALLS][{"name": "sub", "arguments": {}}, {"name": "add", "arguments": {}}, {"name": 1}]'
    expect(read(list, 'mistral')).toMatchObject({
      content: '{"name": "sub", "arguments": {}}\n{"name": 1}',
      toolCalls: [{ name: 'add' }],
    })
  })

  it('stays in the content from where a list of calls is damaged', () => {
    const said = read('[TOOL_CALLS][{"name": "add", "arguments": {}}, {"name": "add", "arg', 'mistral')
    expect(said).toMatchObject({ content: '{"name": "add", "arg', toolCalls: [{ name: 'add' }] })
  })

  it('is not lost in keys that a call has no place for', () => {
    const text = '<tool_call>{"name": "add", "arguments": {}, "why": "to know"}</tool_call>'
    expect(read(text, 'hermes')).toEqual({ content: text, toolCalls: [] })
  })

  it('is read after a damaged section', () => {
    const good = '<|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>'
    const text = `<|tool_calls_section_begin|><|tool_call_begin|>functions.sub:0${good}<|tool_calls_section_end|>`
    expect(read(text, 'kimi')).toMatchObject({
      content: '<|tool_calls_section_begin|><|tool_call_begin|>functions.sub:0',
      toolCalls: [{ id: 'functions.add:1', name: 'add' }],
    })
  })

  it('nests at most 100 deep in a call', () => {
    const call = (depth: number) =>
      `<tool_call>{"name": "add", "arguments": {"a": ${'['.repeat(depth)}${']'.repeat(depth)}}}</tool_call>`
    expect(read(call(90), 'hermes').toolCalls).toHaveLength(1)
    expect(read(call(100_000), 'hermes')).toEqual({ content: call(100_000), toolCalls: [] })
  })

  it('has numbers as they were spelled', () => {
    const [call] = read(
      '<tool_call>{"name": "add", "arguments": {"a": 1.0, "b": 12345678901234567890}}</tool_call>',
      'hermes',
    ).toolCalls
    expect(call?.argumentsText).toBe('{"a": 1.0, "b": 12345678901234567890}')
    expect(answerMessage({ content: '', toolCalls: [call!] })).toMatchObject({
      tool_calls: [{ function: { name: 'add', arguments: { b: 12345678901234567890n } } }],
    })
  })

  it('has raw values by the schema', () => {
    const call = (note: string) =>
      `<tool_call>add_all<arg_key>numbers</arg_key><arg_value>[1]</arg_value><arg_key>note</arg_key><arg_value>${note}</arg_value><arg_key>other</arg_key><arg_value>12</arg_value></tool_call>`
    expect(read(call('null'), 'glm').toolCalls[0]?.arguments).toEqual({ numbers: [1], note: null, other: 12 })
    expect(read(call('12'), 'glm').toolCalls[0]?.arguments).toEqual({ numbers: [1], note: '12', other: 12 })
  })

  it('has closing tags of values within values', () => {
    const text =
      '<tool_call><function=add_all><parameter=note>\na </parameter> b\n</parameter>\n</function></tool_call>'
    expect(read(text, 'xml').toolCalls[0]?.arguments).toEqual({ note: 'a </parameter> b' })
  })
})

describe('the form of a template', () => {
  const form = (source: string, templateOptions = {}) =>
    answerForm(new ChatTemplate({ source, specialTokens: {}, origin: 'test' }), { templateOptions })
  const turns = (call: string, prompt = '') =>
    `{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}${call}{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<assistant>${prompt}{% endif %}`
  const hermes = '<tool_call>{{ c.function | tojson }}</tool_call>'

  it('is found by its calls', async () => {
    expect(await form(turns(hermes))).toMatchObject({ readsCalls: true, prefill: '', reasoning: [] })
    expect(
      (await form(turns('[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}'))).readsCalls,
    ).toBe(true)
    expect((await form(turns('CALL {{ c.function | tojson }}'))).readsCalls).toBe(false)
    expect((await form("{{ raise_exception('no') }}")).readsCalls).toBe(false)
  })

  it('has what the generation prompt begins, by the options of the template', async () => {
    const source = turns(hermes, '{{ "<think>\\n" if think else "<think>\\n\\n</think>\\n\\n" }}')
    expect(await form(source, { think: true })).toMatchObject({
      prefill: '<think>\n',
      reasoning: [{ open: '<think>' }],
    })
    expect(await form(source)).toMatchObject({ prefill: '<think>\n\n</think>\n\n' })
    const thinking = await form(source, { think: true })
    expect(parseAnswer('Hm.\n</think>\n\nYes.', { form: thinking, tools })).toEqual({
      content: 'Yes.',
      reasoning: 'Hm.',
      toolCalls: [],
    })
  })

  it('has reasoning if the template drops it from earlier turns', async () => {
    const source = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
    expect(await form(source)).toMatchObject({ readsCalls: false, reasoning: [{ open: '<think>' }] })
  })
})
