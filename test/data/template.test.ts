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

describe('resolveTemplate', () => {
  it('reads auto, none and a file', async () => {
    const tokenizer = await loadSmallTokenizer()
    expect(await resolveTemplate('auto', tokenizer)).toBeNull()
    expect(await resolveTemplate('none', tokenizer)).toBeNull()
    expect((await resolveTemplate(templatePath('chatml'), tokenizer))!.source).toContain('<|im_start|>')
    await expect(resolveTemplate('absent.jinja', tokenizer)).rejects.toThrow(/absent\.jinja cannot be read/)
  })
})
