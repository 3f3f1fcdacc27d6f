/** Where an answer ends, and which messages and calls a template leaves out. */
import { describe, expect, it } from 'vitest'
import { assistant, call, result, system, trainedOf, user } from './conversations.js'

const looped = (turn: string, prompt: string) =>
  `{% for m in messages %}${turn}{% endfor %}{% if add_generation_prompt %}${prompt}{% endif %}`

describe('T9 the end of an answer', () => {
  const marks = '{{ {"user": "<u>", "assistant": "<a>"}[m.role] }}'

  it('is not trained if only space precedes it', () => {
    const template = looped(`${marks}{{ m.content }}{{ "\n" }}`, '<a>')
    const messages = [user('q'), assistant(''), user('p')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: [], openEnds: 0 })
  })

  it('is open if turns begin with tokens, also without a generation prompt', () => {
    const template = looped(`${marks}{{ m.content }}`, '')
    expect(trainedOf(template, [user('q'), assistant('x')])).toMatchObject({ trained: ['<a>x'], openEnds: 1 })
  })

  it('is refused where only the whole text begins with a token, also where a message is left out', () => {
    const template = `<b>${looped('{% if m.role != "system" %}{{ m.role }}: {{ m.content }}\n{% endif %}', 'assistant: ')}`
    const messages = [user('q'), assistant('x')]
    expect(() => trainedOf(template, messages)).toThrow(/no special token after messages\[1\]/)
    expect(() => trainedOf(template, [system('s'), ...messages])).toThrow(/no special token after messages\[2\]/)
  })

  it('is the token of the next turn where an answer lacks the one that others end with', () => {
    const template = looped('<s>{{ m.role }}{{ "\n" }}{{ m.content }}{{ "</tool>" if not m.open }}', '<s>assistant\n')
    const messages = [user('q'), assistant('add', { open: true }), result('3')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: ['add<s>'], openEnds: 0 })
  })

  it('is the token of the next turn where it is not known how plain answers end', () => {
    const refuses = '{% if messages[0].role != "system" %}{{ raise_exception("") }}{% endif %}'
    const ended = (end: string) => refuses + looped(`<s>{{ m.role }}{{ "\n" }}{{ m.content }}${end}`, '<s>assistant\n')
    const messages = [system('s'), user('q'), assistant('a'), user('p')]
    expect(trainedOf(ended('</tool>'), messages).trained).toEqual(['a</tool><s>'])
    // Except a special one, which ends whatever it follows.
    expect(trainedOf(ended('<e>'), messages).trained).toEqual(['a<e>'])
  })
})

describe('what a template leaves out', () => {
  const shown = looped('{% if not m.hidden %}<s>{{ m.role }}\n{{ m.content }}<e>{% endif %}', '<s>assistant\n')
  const none = { droppedMessages: 0, droppedCalls: 0 }

  it('is counted: messages, of which answers are not trained', () => {
    const messages = [user('q'), assistant('no', { hidden: true }), user('p'), assistant('b')]
    const counts = { ...none, droppedMessages: 1, foreignOpenings: 0 }
    expect(trainedOf(shown, messages)).toMatchObject({ trained: ['b<e>'], ...counts })
  })

  it('is counted: calls, although others speak of them', () => {
    const messages = [user('add'), assistant('x', { tool_calls: [call('add')] })]
    expect(trainedOf(shown, messages)).toMatchObject({ trained: ['x<e>'], ...none, droppedCalls: 1 })
  })

  it('does not count a message without content', () => {
    const filled = looped('{% if m.content %}<s>{{ m.role }}\n{{ m.content }}<e>{% endif %}', '<s>assistant\n')
    const messages = [user(' '), user(''), { role: 'assistant', tool_calls: [call('add')] }, assistant('b')]
    expect(trainedOf(filled, messages)).toMatchObject({ trained: ['b<e>'], ...none, droppedCalls: 1 })
  })

  it('does not count a message that stands elsewhere, or in other words', () => {
    const folded = looped(
      '{% if m.role != "system" %}<s>{{ m.role }}\n{{ messages[0].content | trim if loop.index0 == 1 }}{{ m.content | upper if m.role == "user" else m.content }}<e>{% endif %}',
      '<s>assistant\n',
    )
    const messages = [system(' Be good. '), user('q'), assistant('a')]
    expect(trainedOf(folded, messages)).toMatchObject({ trained: ['a<e>'], ...none })
    const written =
      '{{ messages[0].content | upper }}<e>{% if messages | length > 1 %}{{ messages[1].content }}<e>{% endif %}'
    expect(trainedOf(written, [user('q'), assistant('a')])).toMatchObject({ trained: ['a<e>'], ...none })
  })

  it('is refused if it is all of an answer, blank lines or not', () => {
    const loud = looped('<s>{{ m.role }}\n{{ m.content | upper }}<e>', '<s>assistant\n')
    expect(() => trainedOf(loud, [user('q'), assistant('one\n\ntwo')])).toThrow(/its content is not found/)
    expect(trainedOf(loud, [user('q'), assistant('ONE\n\ntwo')]).trained).toEqual(['ONE\n\nTWO<e>'])
  })
})
