/** Where an answer ends, and which messages and calls a template leaves out. */
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../lib/text/templates/messages.js'
import { maskChat } from '../templates/compiled.js'
import { assistant, call, result, system, templateOf, trainedOf, user, visible } from './conversations.js'

const looped = (turn: string, prompt: string) =>
  `{% for m in messages %}${turn}{% endfor %}{% if add_generation_prompt %}${prompt}{% endif %}`

describe('T9 the end of an answer', () => {
  const marks = '{{ {"user": "<u>", "assistant": "<a>"}[m.role] }}'

  it('is not trained if only space precedes it', () => {
    const template = looped(`${marks}{{ m.content }}{{ "\n" }}`, '<a>')
    const messages = [user('q'), assistant(''), user('p')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: [], openEnds: 0 })
  })

  it('is the token that begins turns, also without a generation prompt', () => {
    const template = looped(`${marks}{{ m.content }}`, '')
    const counts = { openEnds: 0, addedEnds: 1 }
    expect(trainedOf(template, [user('q'), assistant('x')])).toMatchObject({ trained: ['<a>x<u>'], ...counts })
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

describe('T9 the end of the last answer, which the template leaves out', () => {
  const added = { openEnds: 0, addedEnds: 1 }
  const shown = { openEnds: 0, addedEnds: 0 }
  const chatml = looped(
    '<s>{{ m.role }}\n{{ m.content }}{% if (loop.last and add_generation_prompt) or not loop.last %}<e>\n{% endif %}',
    '<s>assistant\n',
  )

  it('is the one that it has before another message', () => {
    const messages = [user('q'), assistant('a'), user('p'), assistant('b')]
    expect(trainedOf(chatml, messages)).toMatchObject({ trained: ['a<e>', 'b<e>'], ...added })
    expect(trainedOf(chatml, messages.slice(0, 3))).toMatchObject({ trained: ['a<e>'], ...shown })
  })

  it('belongs to its turn', () => {
    const { ids, turns } = maskChat(visible, templateOf(chatml), [user('q'), assistant('a')], 'row 1')
    expect(turns.at(-1)).toMatchObject({ role: 'assistant', end: ids.length })
  })

  it('is found although the answer is another one before another message', () => {
    const template = looped(
      '{{ {"user": "<u>", "assistant": "<a>", "tool": "<o>"}[m.role] }}\n{% if m.role == "assistant" %}<think>{{ m.reasoning_content if loop.last }}</think>\n{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool>{{ c.function.name }}</tool>{% endfor %}{{ "\n" if not loop.last }}',
      '<a>\n',
    )
    const answer = [user('q'), assistant('a', { reasoning: 'so' })]
    expect(trainedOf(template, answer)).toMatchObject({ trained: ['<think>so</think>\na\n<u>'], ...added })
    const calls = [user('q'), assistant('', { tool_calls: [call('add'), call('sub')] })]
    const trained = ['<think></think>\n<tool>add</tool><tool>sub</tool>\n<o>']
    expect(trainedOf(template, calls)).toMatchObject({ trained, ...added })
  })

  it('is no token that only closes calls', () => {
    const written = (end: string) =>
      looped(
        `{% if m.role == "tool" %}<result>{{ m.content }}<o>{% elif m.tool_calls %}<s>assistant\n{% for c in m.tool_calls %}<call>{{ c.function.name }}<o>{% endfor %}${end}{% else %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endif %}`,
        '<s>assistant\n',
      )
    const messages = [user('q'), assistant('', { tool_calls: [call('add'), call('sub')] })]
    const trained = ['<call>add<o><call>sub<o><result>']
    expect(trainedOf(written(''), messages)).toMatchObject({ trained, ...added })
    expect(trainedOf(written(''), [...messages, result('3')])).toMatchObject({ trained, ...shown })
    expect(trainedOf(written('{{ "<result>" if loop.last }}'), messages)).toMatchObject({ trained, ...shown })
    const ended = ['<call>add<o><call>sub<o><eos>']
    expect(trainedOf(written('<eos>'), [...messages, result('3')])).toMatchObject({ trained: ended, ...shown })
  })

  it('is the token that closes calls where other turns begin with what would follow', () => {
    const template = looped(
      '{% if m.tool_calls %}{% for c in m.tool_calls %}<s>assistant<channel>{{ c.function.name }}<call>{% endfor %}{% else %}<s>{{ m.role }}<o>{{ m.content }}<e>{% endif %}',
      '<s>assistant',
    )
    const messages = [user('q'), assistant('', { tool_calls: [call('add')] })]
    for (const others of [[], [result('3')]]) {
      expect(trainedOf(template, [...messages, ...others])).toMatchObject({ trained: ['<channel>add<call>'], ...shown })
    }
  })

  it('is refused where the template takes no other message', () => {
    const template = `{% if messages | length > 2 %}{{ raise_exception("") }}{% endif %}${chatml}`
    expect(() => trainedOf(template, [user('q'), assistant('a')])).toThrow(/no special token after messages\[1\]/)
  })
})

describe('what a template leaves out', () => {
  const shown = looped('{% if not m.hidden %}<s>{{ m.role }}\n{{ m.content }}<e>{% endif %}', '<s>assistant\n')
  const none = { droppedMessages: 0, droppedCalls: 0, droppedReasoning: 0, silentTurns: 0 }

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
    expect(trainedOf(filled, messages)).toMatchObject({ trained: ['b<e>'], ...none, droppedCalls: 1, silentTurns: 1 })
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

  describe('of reasoning', () => {
    const written = (answer: string) =>
      looped(
        `<s>{{ m.role }}\n{% if m.role == "assistant" %}${answer}{% else %}{{ m.content }}{% endif %}<e>`,
        '<s>assistant\n',
      )
    const plain = written('{{ m.content }}')
    const cutting = written('{{ m.content.split("</think>")[-1] }}')
    const thinking = written('<think>{{ m.reasoning_content | trim }}</think>{{ m.content }}')

    it.each(['reasoning_content', 'reasoning', 'thinking'])('is counted in the field %s', (field) => {
      const messages = [user('2+2?'), assistant('4', { [field]: '2 and 2\nare 4\n' })]
      expect(trainedOf(plain, messages)).toMatchObject({ ...none, trained: ['4<e>'], droppedReasoning: 1 })
      expect(trainedOf(thinking, messages)).toMatchObject({ ...none, trained: ['<think>2 and 2\nare 4</think>4<e>'] })
    })

    it.each(['<think>\nso\n</think>\n\n4', 'so</think>4', '<think>so</think>4'])(
      'is counted in the content %j',
      (content) => {
        const messages = [user('2+2?'), assistant(content)]
        expect(trainedOf(cutting, messages)).toMatchObject({ ...none, droppedReasoning: 1 })
        expect(trainedOf(plain, messages)).toMatchObject({ ...none, trained: [`${content}<e>`] })
      },
    )

    it('is counted in parts of the content', () => {
      const content: Message['content'] = [
        { type: 'thinking', thinking: 'so' },
        { type: 'text', text: '4' },
      ]
      const messages = [user('2+2?'), { role: 'assistant', content }]
      expect(trainedOf(plain, messages)).toMatchObject({ ...none, trained: ['4<e>'], droppedReasoning: 1 })
      expect(trainedOf(thinking, messages)).toMatchObject({ ...none, trained: ['<think>so</think>4<e>'] })
      const parts = written(
        '{{ m.content if m.content is string }}{% for p in m.content if p is mapping %}{{ p.thinking or p.text }}{% endfor %}',
      )
      expect(trainedOf(parts, messages)).toMatchObject({ ...none, trained: ['so4<e>'] })
    })

    it('is not mistaken for the content that says the same', () => {
      expect(trainedOf(plain, [user('q'), assistant('so it is', { reasoning: 'so' })])).toMatchObject({
        droppedReasoning: 1,
      })
      expect(trainedOf(thinking, [user('q'), assistant('so', { reasoning: 'so' })])).toMatchObject(none)
    })

    it('is not counted where only its tags are others', () => {
      const other = written('{{ m.content | replace("<think>", "[THINK]") | replace("</think>", "[/THINK]") }}')
      expect(trainedOf(other, [user('q'), assistant('<think>so</think>4')])).toMatchObject(none)
    })

    it('is counted by the turn, as in templates that print that of the last turn alone', () => {
      const last = written('{{ m.reasoning_content if loop.last }}{{ m.content }}')
      const messages = [user('q'), assistant('a', { reasoning: 'so' }), user('p'), assistant('b', { reasoning: 'hm' })]
      expect(trainedOf(last, messages)).toMatchObject({ ...none, trained: ['a<e>', 'hmb<e>'], droppedReasoning: 1 })
    })

    it('is counted with another part of the content', () => {
      const first = written('{{ m.content.split("\\n")[0] }}')
      expect(trainedOf(first, [user('q'), assistant('one\ntwo')])).toMatchObject({
        trained: ['one<e>'],
        droppedReasoning: 1,
      })
    })
  })

  describe('of a whole turn', () => {
    const template = looped(
      '<s>{{ m.role }}\n{{ m.content.split("</think>")[-1] if m.content and not m.mute }}<e>\n',
      '<s>assistant\n<think>\n',
    )
    const others = [user('p'), assistant('b')]
    it.each([
      ['calls', { droppedCalls: 1 }, assistant('', { tool_calls: [call('end')] })],
      ['content', { droppedReasoning: 1 }, assistant('e', { mute: true })],
      ['reasoning', { droppedReasoning: 1 }, assistant('', { reasoning: 'so' })],
      ['thinking in the content', { droppedReasoning: 1 }, assistant('<think>so</think>')],
    ])('is counted, and its end alone is not trained: %s', (_, counts, silent) => {
      const found = { ...none, ...counts, silentTurns: 1 }
      expect(trainedOf(template, [user('q'), silent, ...others])).toMatchObject({ ...found, trained: ['b<e>'] })
      expect(trainedOf(template, [user('q'), silent])).toMatchObject({ ...found, trained: [] })
    })

    it('is not counted where the turn says nothing', () => {
      expect(trainedOf(template, [user('q'), assistant('')])).toMatchObject({ ...none, trained: ['<e>'] })
    })

    it('leaves the rest of a turn of calls', () => {
      const turn = assistant('look', { tool_calls: [call('add')] })
      expect(trainedOf(template, [user('q'), turn])).toMatchObject({ ...none, trained: ['look<e>'], droppedCalls: 1 })
    })
  })
})
