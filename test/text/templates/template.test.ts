import { describe, expect, it } from 'vitest'
import { ChatTemplate, type Message, resolveTemplate } from '../../../lib/text/template.js'
import { CompiledTemplate } from '../../../lib/text/templates/compiled-template.js'
import { loadSmallTokenizer, templatePath } from '../tokenizer/small-tokenizer.js'
import { compiled } from './compiled.js'

const messages = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'hello' },
]

describe('a chat template', () => {
  it('renders with the special tokens and the generation prompt', () => {
    const source =
      '{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}'
    const template = compiled(source, { bos_token: '<s>' }, 'test')
    expect(template.render(messages, { addGenerationPrompt: true })).toBe('<s>[hi][hello]>')
    expect(template.render(messages, { addGenerationPrompt: false })).toBe('<s>[hi][hello]')
  })

  it('prints the same date on every day', () => {
    const template = compiled('\n{{ strftime_now("%d %B %Y") }}', {}, 'test')
    expect(template.render(messages, { addGenerationPrompt: false })).toBe('\n26 July 2024')
  })

  it('T29 has a hash that follows its source', () => {
    const hash = (source: string) => new ChatTemplate({ source, specialTokens: {}, origin: 'test' }).hash
    expect(hash('a')).toBe(hash('a'))
    expect(hash('a')).not.toBe(hash('b'))
  })

  it('names the template in errors, its own refusals included', () => {
    expect(() => compiled('{% for %}', {}, 'model-x')).toThrow(
      /template of model-x cannot be read: line 1: expected a name but found %}/,
    )
    const refusing = compiled('{{ raise_exception("roles must alternate") }}', {}, 'model-x')
    expect(() => refusing.render(messages, { addGenerationPrompt: false })).toThrow(/model-x.*roles must alternate/)
  })
})

describe('conversations that a template does not take as they are', () => {
  const texts = '{% for m in messages %}[{{ m.content + "" }}]{% endfor %}'
  const render = (source: string, conversation: Message[]) =>
    compiled(source, {}, 'test').render(conversation, { addGenerationPrompt: false })
  const part = (text: string) => ({ type: 'text' as const, text })
  const parts: Message[] = [{ role: 'user', content: [part('a '), part('b')] }]

  it('have their parts joined where it expects texts, prints lists, or leaves them out', () => {
    expect(render(texts, parts)).toBe('[a b]')
    expect(render('{% for m in messages %}[{{ m.content }}]{% endfor %}', parts)).toBe('[a b]')
    expect(render('{% for m in messages %}[{{ m.content | tojson }}]{% endfor %}', parts)).toBe('["a b"]')
    expect(render('{% for m in messages %}[{{ m.content if m.content is string }}]{% endfor %}', parts)).toBe('[a b]')
    const each = '{% for m in messages %}{% for p in m.content %}[{{ p.text | trim }}]{% endfor %}{% endfor %}'
    expect(render(each, parts)).toBe('[a][b]')
  })

  it('have parts of reasoning where it prints them, and a field of reasoning otherwise', () => {
    const thought = { type: 'thinking' as const, thinking: 'so ' }
    const answers: Message[] = [{ role: 'assistant', content: [thought, part('a '), part('b')] }]
    const looped = (text: string) => `{% for m in messages %}${text}{% endfor %}`
    const each = (text: string) => looped(`{% for p in m.content %}${text}{% endfor %}`)
    const printed = each('{{ "[THINK]" + p.thinking + "[/THINK]" if p.type == "thinking" else p.text }}')
    expect(render(printed, answers)).toBe('[THINK]so [/THINK]a b')
    expect(render(looped('<{{ m.reasoning_content }}>{{ m.content }}'), answers)).toBe('<so >a b')
    expect(render(looped('<{{ m.thinking }}>{% for p in m.content %}{{ p.text }};{% endfor %}'), answers)).toBe(
      '<so >a ;b;',
    )
    const refusing = each('{{ p.text if p.type == "text" else raise_exception("no such part") }};')
    expect(render(refusing, answers)).toBe('a ;b;')
    const both = answers.map((message) => ({ ...message, reasoning: 'first' }))
    expect(render(looped('<{{ m.reasoning_content }}>{{ m.content }}'), both)).toBe('<first\nso >a b')
  })

  it('have an empty content if it needs one, and none otherwise', () => {
    const silent: Message[] = [
      { role: 'assistant', content: null },
      { role: 'user', content: 'q' },
    ]
    expect(render(texts, silent)).toBe('[][q]')
    expect(render('{% for m in messages %}{{ m.content is defined }}{% endfor %}', silent)).toBe('FalseTrue')
  })

  it('have reasoning by all of its names', () => {
    const source = '{% for m in messages %}{{ m.reasoning_content }}-{{ m.thinking }};{% endfor %}'
    const thoughts = [
      { reasoning: 'a' },
      { thinking: 'b', reasoning: 'x' },
      { reasoning_content: 'c', thinking: 'd' },
      { reasoning: null },
    ]
    expect(
      render(
        source,
        thoughts.map((one) => ({ role: 'assistant', content: '', ...one })),
      ),
    ).toBe('a-a;b-b;c-d;-;')
  })

  it('have arguments of calls in the form that it expects', () => {
    const call = (given: unknown): Message[] => [
      { role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: given } }] },
    ]
    const loop = '{% for c in messages[0].tool_calls %}'
    const items = `${loop}{% for k, v in c.function.arguments | items %}{{ k }}={{ v }}{% endfor %}{% endfor %}`
    expect(render(items, call('{"a": 2.0}'))).toBe('a=2.0')
    const text = `${loop}{{ '' + c.function.arguments }}{% endfor %}`
    expect(render(text, call({ a: [1, 'é'] }))).toBe('{"a": [1, "é"]}')
    expect(render(`${loop}{{ c.function.arguments | tojson }}{% endfor %}`, call('{}'))).toBe('"{}"')
    expect(() => render(items, call('no JSON'))).toThrow(/expected a mapping but received a string/)
    let deep: unknown = 1
    for (let i = 0; i < 50_000; i++) deep = [deep]
    expect(() => render(text, call(deep))).toThrow(/nests too deep/)
  })
})

describe('a template with several sources', () => {
  const template = (source: string | null, toolSource?: string) =>
    new CompiledTemplate({ source, toolSource, specialTokens: {}, origin: 'model-x' })
  const render = (one: CompiledTemplate, tools?: unknown[]) =>
    one.render(messages, { tools, addGenerationPrompt: false })

  it('renders the one for tools if there are tools, even an empty list', () => {
    const both = template('plain', 'with {{ tools | length }}')
    expect(render(both)).toBe('plain')
    expect(render(both, [{ name: 'f' }])).toBe('with 1')
    expect(render(both, [])).toBe('with 0')
    expect(render(template('{{ tools | length }}'), [{}])).toBe('1')
  })

  it('has none for a conversation without a template of that name', () => {
    const named = template(null, 'tools')
    expect(render(named, [{}])).toBe('tools')
    expect(() => render(named)).toThrow(/^model-x has several chat templates and none named default/)
    expect(() => render(template(null), [{}])).toThrow(/none named default/)
  })
})

it('a template cannot make more text than can be tokenised soon', () => {
  const echo = compiled('{{ messages[0].content * 9 }}')
  const render = (count: number) =>
    echo.render([{ role: 'user', content: 'x'.repeat(count) }], { addGenerationPrompt: false })
  expect(render(29_000)).toHaveLength(261_000)
  expect(render(200_000)).toHaveLength(1_800_000)
  expect(() => render(300_000)).toThrow(
    expect.objectContaining({
      code: 'template-failed',
      message: expect.stringMatching(/it makes 2700000 characters of it, more than 8 times as many as were given\.$/),
    }),
  )
})

describe('resolveTemplate', () => {
  it('reads auto, none and a file', async () => {
    const tokenizer = await loadSmallTokenizer()
    expect(await resolveTemplate('auto', tokenizer)).toBeNull()
    expect(await resolveTemplate('none', tokenizer)).toBeNull()
    expect((await resolveTemplate(templatePath('chatml'), tokenizer))!.source).toContain('<|im_start|>')
    await expect(resolveTemplate('absent.jinja', tokenizer)).rejects.toThrow(/absent\.jinja cannot be read/)
  })
})
