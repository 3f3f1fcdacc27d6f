import { describe, expect, it } from 'vitest'
import { ChatTemplate, type Message, resolveTemplate } from '../../../lib/data/templates/template.js'
import { loadSmallTokenizer, templatePath } from '../tokenizer/small-tokenizer.js'

const messages = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'hello' },
]

it('refuses spaces that would take long to strip', () => {
  const withSpaces = (count: number) => () => new ChatTemplate(`a${' '.repeat(count)}{{ 1 }}`, {}, 'x')
  expect(withSpaces(512)).not.toThrow()
  expect(withSpaces(513)).toThrow(
    /^The chat template of x cannot be read: it has 513 spaces in a row, more than 512\.$/,
  )
})

describe('ChatTemplate', () => {
  it('renders with the special tokens and the generation prompt', () => {
    const source =
      '{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}'
    const template = new ChatTemplate(source, { bos_token: '<s>' }, 'test')
    expect(template.render(messages, { addGenerationPrompt: true })).toBe('<s>[hi][hello]>')
    expect(template.render(messages, { addGenerationPrompt: false })).toBe('<s>[hi][hello]')
  })

  it('prints the same date on every day', () => {
    const template = new ChatTemplate('\n{{ strftime_now("%d %B %Y") }}', {}, 'test')
    expect(template.render(messages, { addGenerationPrompt: false })).toBe('\n26 July 2024')
  })

  it('T29 has a hash that follows its source', () => {
    const hash = (source: string) => new ChatTemplate(source, {}, 'test').hash
    expect(hash('a')).toBe(hash('a'))
    expect(hash('a')).not.toBe(hash('b'))
  })

  it('names the template in errors, its own refusals included', () => {
    expect(() => new ChatTemplate('{% for %}', {}, 'model-x')).toThrow(/template of model-x cannot be read/)
    const refusing = new ChatTemplate('{{ raise_exception("roles must alternate") }}', {}, 'model-x')
    expect(() => refusing.render(messages, { addGenerationPrompt: false })).toThrow(/model-x.*roles must alternate/)
  })
})

describe('conversations that a template does not take as they are', () => {
  const texts = '{% for m in messages %}[{{ m.content + "" }}]{% endfor %}'
  const render = (source: string, conversation: Message[]) =>
    new ChatTemplate(source, {}, 'test').render(conversation, { addGenerationPrompt: false })
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

  it('have an empty content where it needs one, and none where it does not', () => {
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

  it('have arguments of calls in the form that it takes', () => {
    const call = (given: unknown): Message[] => [
      { role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: given } }] },
    ]
    const loop = '{% for c in messages[0].tool_calls %}'
    const items = `${loop}{% for k, v in c.function.arguments | items %}{{ k }}={{ v }}{% endfor %}{% endfor %}`
    expect(render(items, call('{"a": 2.0}'))).toBe('a=2.0')
    const text = `${loop}{{ '' + c.function.arguments }}{% endfor %}`
    expect(render(text, call({ a: [1, 'é'] }))).toBe('{"a": [1, "é"]}')
    expect(render(`${loop}{{ c.function.arguments | tojson }}{% endfor %}`, call('{}'))).toBe('"{}"')
    expect(() => render(items, call('no JSON'))).toThrow(/items was asked of no JSON/)
    let deep: unknown = 1
    for (let i = 0; i < 50_000; i++) deep = [deep]
    expect(() => render(text, call(deep))).toThrow(/nests too deep/)
  })
})

describe('a template that would never end, or fill the memory', () => {
  const doubled = '{% set ns = namespace(x="ab") %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}'
  // 2^60 ones in 61 lists: nothing is large until somebody looks at all of it.
  const lists = '{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}'
  const maps =
    '{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = {"a": ns.x, "b": ns.x} %}{% endfor %}'
  const uses = [
    'ns.x',
    'ns.x | tojson',
    'ns.x ~ ""',
    'ns.x == ns.x',
    'raise_exception(ns.x)',
    '[ns.x, 2] | join',
    '"%s" % ns.x',
  ]
  const shared = [lists, maps].flatMap((made, i) =>
    uses.map((use) => ({ what: `${i === 0 ? 'lists' : 'maps'}, ${use}`, use: `${made}{{ ${use} }}` })),
  )
  const much =
    '{% set ns = namespace(x="x") %}{% for i in range(20) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{% set l = range(60000) %}'
  const heavy = [
    'ns.x.strip("y")',
    '"y" in ns.x',
    'ns.x | trim | length',
    'l | sort',
    '-1 in l',
    'l | unique',
    'ns.x.split("y")',
  ]
  it.each([
    ['a loop', '{% for i in range(1000000000) %}x{% endfor %}', /more than 65536 items/],
    [
      'loops in loops',
      '{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}',
      /more than 5000000 steps/,
    ],
    [
      'a macro that calls itself',
      '{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}',
      /more than 5000000 steps/,
    ],
    ['endless recursion', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}', /does not accept this conversation/],
    ['doubled text', doubled, /more than 16777216 characters/],
    ['a wide indentation', '{{ "a" | indent(500000000, true) }}', /more than 16777216 characters/],
    [
      'doubled lists',
      '{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
      /items/,
    ],
    ...shared.map(({ what, use }) => [`shared structure, ${what}`, use, /more than 4194304 parts of a value/] as const),
    ...heavy.map((use) => [
      `work on much, ${use}`,
      `${much}{% for i in range(60000) %}{{ ${use} }}{% endfor %}`,
      /more than/,
    ]),
  ] as [string, string, RegExp][])('ends with a sentence: %s', (_, source, message) => {
    const template = new ChatTemplate(source, {}, 'model-x')
    expect(() => template.render(messages, { addGenerationPrompt: false })).toThrow(
      expect.objectContaining({ code: 'template-failed', message: expect.stringMatching(message) }),
    )
    expect(() => template.render(messages, { addGenerationPrompt: false })).toThrow(/template of model-x/)
  })

  it.each(['{'.repeat(9999), `{{ ${'('.repeat(50_000)}`, '{% if x %}'.repeat(20_000), `{{ x${'.y'.repeat(50_000)} }}`])(
    'is refused when it is read: %#',
    (source) => {
      expect(() => new ChatTemplate(source, {}, 'model-x')).toThrow(/template of model-x cannot be read: /)
    },
  )

  it('gives what it gave before where it stays within limits', () => {
    const long = Array.from({ length: 500 }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: 'x'.repeat(999),
    }))
    const template = new ChatTemplate(
      '{% for m in messages %}{# round #}{{ loop.index }}{{ m.content }}{% endfor %}',
      {},
      'test',
    )
    const expected = long.map(({ content }, i) => `${i + 1}${content}`).join('')
    expect(template.render(long, { addGenerationPrompt: false })).toBe(expected)
  })
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
