import { describe, expect, it } from 'vitest'
import { ChatTemplate, resolveTemplate } from '../../lib/data/template.js'
import { loadSmallTokenizer, templatePath } from './small-tokenizer.js'

const messages = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'hello' },
]

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

describe('a template that would never end, or fill the memory', () => {
  const doubled = '{% set ns = namespace(x="ab") %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}'
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
  ])('ends with a sentence: %s', (_, source, message) => {
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
