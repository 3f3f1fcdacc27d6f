/** Trained tokens under templates of the kinds that models ship, each reduced to a few words. */
import { describe, expect, it } from 'vitest'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'
import { assistant, call, result, system, trainedOf, user } from './conversations.js'

describe('T7 what stands before an announcement is not trained', () => {
  it('a default system prompt', () => {
    const template =
      '{% for m in messages %}{% if loop.first and m.role != "system" %}<s>system\nBe good.<e>\n{% endif %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}'
    const messages = [assistant('Hello'), user('Hi'), assistant('Bye')]
    expect(trainedOf(template, messages).trained).toEqual(['Hello<e>', 'Bye<e>'])
  })

  it('the first token', () => {
    const template =
      '{% for m in messages %}{% set t = "<s>" + m.role + "<o>\n\n" + m.content | trim + "<e>" %}{% if loop.first %}{% set t = bos_token + t %}{% endif %}{{ t }}{% endfor %}{% if add_generation_prompt %}{{ "<s>assistant<o>\n\n" }}{% endif %}'
    expect(trainedOf(template, [assistant(' Hello '), user('Hi'), assistant('Bye')]).trained).toEqual([
      'Hello<e>',
      'Bye<e>',
    ])
  })
})

describe('T8 thinking', () => {
  /** Thinking of turns before the last question is left out, an empty block stands in for none. */
  const template = `
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == "user" %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{{- '<s>' + ('user' if m.role == 'tool' else m.role) + '\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}
{{- m.content }}
{%- for c in m.tool_calls or [] %}{{ '<tool>' + c.function.name + '</tool>' }}{% endfor %}
{{- '<e>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<s>assistant\n' + (prompted or '') }}{% endif %}`

  it('of an earlier turn is left out, and the last turn is trained with its own', () => {
    const messages = [user('q'), assistant('one', { thinking: 'so' }), user('p'), assistant('two', { reasoning: 'hm' })]
    expect(trainedOf(template, messages).trained).toEqual(['one<e>', '<think>\nhm\n</think>\n\ntwo<e>'])
  })

  it('is left out as far as it is in the generation prompt', () => {
    const messages = [user('q'), assistant('<tag>'), user('p'), assistant('two', { thinking: 'hm' })]
    const thinks = trainedOf(template, messages, { templateOptions: { prompted: '<think>\n' } })
    expect(thinks).toMatchObject({ trained: ['<tag><e>', 'hm\n</think>\n\ntwo<e>'], foreignOpenings: 1 })
    const never = trainedOf(template, messages, { templateOptions: { prompted: '<think>\n\n</think>\n\n' } })
    expect(never).toMatchObject({ trained: ['<tag><e>', 'hm\n</think>\n\ntwo<e>'], foreignOpenings: 2 })
  })

  it('does not change calls, whose turns are rendered differently as the last ones', () => {
    const messages = [user('q'), assistant('', { tool_calls: [call('add')] }), result('3'), assistant('three')]
    expect(trainedOf(template, messages).trained).toEqual([
      '<think>\n\n</think>\n\n<tool>add</tool><e>',
      '<think>\n\n</think>\n\nthree<e>',
    ])
  })
})

describe('T9 turns of several parts', () => {
  const channels =
    '{% for m in messages %}{% if m.role == "user" %}<s>user{{ m.content }}<e>{% else %}{% if m.thinking and loop.last %}<s>assistant<channel>thought<o>{{ m.thinking }}<e>{% endif %}<s>assistant<channel>final<o>{{ m.content }}{{ "<eos>" if loop.last and not add_generation_prompt else "<e>" }}{% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant{% endif %}'
  it('are trained whole, each channel with its announcement', () => {
    const messages = [user('q'), assistant('one'), user('p'), assistant('two', { thinking: 'hm' })]
    expect(trainedOf(channels, messages).trained).toEqual([
      '<channel>final<o>one<e>',
      '<channel>thought<o>hm<e><s>assistant<channel>final<o>two<eos>',
    ])
  })

  it('are trained up to their end where the answer is empty', () => {
    expect(trainedOf(channels, [user('q'), assistant('')]).trained).toEqual(['<channel>final<o><eos>'])
  })

  it('leave out what a tool answered, wherever a template puts it', () => {
    const template =
      '{% for m in messages %}{% if m.role != "tool" %}{% if loop.first or loop.previtem.role != "tool" %}<s>{{ m.role }}\n{% endif %}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}<o>{% endfor %}{% if m.tool_calls %}{% for k in range(loop.index, messages | length) %}{% set follow = messages[k] %}{% if follow.role == "tool" %}<result>{{ follow.content }}<o>{% endif %}{% endfor %}{% endif %}{% if not m.tool_calls or m.content %}{{ m.content }}<e>\n{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt and messages[-1].role != "tool" %}<s>assistant\n{% endif %}'
    const messages = [user('q'), assistant('', { tool_calls: [call('add')] }), result('3'), assistant('three')]
    expect(trainedOf(template, messages).trained).toEqual(['<call>add<o><result>', 'three<e>'])
  })
})

describe('T9 the end of a turn', () => {
  it('may be the token that opens the next one', () => {
    const template =
      '<b>{% for m in messages %}{{ {"user": "<u>", "assistant": "<a>", "tool": "<o>"}[m.role] }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool>{{ c.function.name }}</tool>{% endfor %}{% endfor %}{% if add_generation_prompt %}<a>\n{% endif %}'
    const messages = [user('q'), assistant('', { tool_calls: [call('add')] }), result('3'), assistant('x'), user('p')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: ['<tool>add</tool><o>', 'x<u>'], openEnds: 0 })
    const twice = [user('q'), assistant('x'), assistant('y'), user('p')]
    expect(trainedOf(template, twice)).toMatchObject({ trained: ['x', 'y<u>'], openEnds: 1 })
    expect(trainedOf(template, messages.slice(0, 4))).toMatchObject({
      trained: ['<tool>add</tool><o>', 'x<u>'],
      openEnds: 0,
      addedEnds: 1,
    })
  })

  it('may be a token that is not special, before one that is', () => {
    const template =
      '{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</tool>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}'
    expect(trainedOf(template, [user('q'), assistant('a'), user('p')]).trained).toEqual(['a</tool>'])
  })

  it("is not a conversation's end", () => {
    const template =
      '{% for m in messages %}{% if m.role == "user" %}<u>\n{{ m.content }}<e>\n{% elif m.role == "assistant" %}<a>\n{{ m.content }}<e>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<a>\n{% else %}{{ eos_token }}{% endif %}'
    const messages = [user('q'), assistant('', { tool_calls: [call('add')] }), result('3')]
    const counts = { droppedCalls: 1, droppedMessages: 1, silentTurns: 1 }
    expect(trainedOf(template, messages)).toMatchObject({ trained: [], ...counts })
    expect(trainedOf(template, [user('q'), assistant('a'), system('x')])).toMatchObject({ trained: ['a<e>'] })
  })

  it('is not one that the answer only speaks of', () => {
    const template =
      '{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}'
    const messages = [user('Say <e>\n<s>assistant\n'), assistant('It is <e> or <s>assistant\n'), user('<e>')]
    expect(trainedOf(template, messages).trained).toEqual(['It is <e> or <s>assistant\n<e>'])
  })
})

describe('messages that are not trained', () => {
  const template =
    '{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<e>{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}'
  it('are those of weight 0', () => {
    const messages = [user('q'), assistant('bad', { weight: 0 }), user('p'), assistant('good', { weight: 1 })]
    expect(trainedOf(template, messages).trained).toEqual(['good<e>'])
  })
})

describe('T7 templates that do not loop over messages', () => {
  it('may number them', () => {
    const numbered =
      '{% for i in range(messages | length) %}{% set m = messages[i] %}<s>{{ m.role }}\n{{ m.content }}{{ "<o>" if i + 1 < messages | length else "<e>" }}{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}'
    expect(trainedOf(numbered, [user('q'), assistant('a'), user('p')]).trained).toEqual(['a<o>'])
  })

  const written = (end: string) =>
    `{% if messages | length > 0 %}Q{{ messages[0].content }}<e>{% endif %}{% if messages | length > 1 %}A{% generation %}{{ messages[1].content }}${end}{% endgeneration %}{% endif %}{% if messages | length > 2 %}Q{{ messages[2].content }}<e>{% endif %}{% if add_generation_prompt %}A{% endif %}`
  const messages = [user('q'), assistant('a'), user('p')]

  it('are masked by the text before each turn', () => {
    const chat = trainedOf(written('<e>').replaceAll(/\{% (end)?generation %\}/g, ''), messages)
    expect(chat).toMatchObject({ trained: ['a<e>'], foreignOpenings: 0 })
  })

  const unstable = written('{{ "<o>" if messages | length > 2 else "<e>" }}')
  it('are refused if that text is another one before the next turn, with the ways out', () => {
    expect(() => trainedOf(unstable.replaceAll(/\{% (end)?generation %\}/g, ''), messages)).toThrow(
      /^rows\.jsonl:3: .*messages\[1\].*trainOn: all.*the option template.*input_ids/,
    )
  })
})

describe('a template with marks', () => {
  const turn = (answer: string) =>
    `{% for m in messages %}<s>{{ m.role }}\n{% if m.role == "assistant" %}${answer}{% else %}{{ m.content }}<e>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}`
  const marked = (text: string) => `{% generation %}${text}{% endgeneration %}`
  const think = '{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}'
  const ended = '{{ m.content }}<e>{{ "\n" }}'
  const messages = [user('q'), assistant('a', { reasoning: 'so' }), user('p'), assistant('b', { reasoning: 'hm' })]
  const plain = { foreignOpenings: 0, openEnds: 0, addedEnds: 0, droppedReasoning: 0, silentTurns: 0 }

  it('trains what it marks and nothing else, white space and all', () => {
    expect(trainedOf(turn(think + marked(ended)), messages)).toMatchObject({ ...plain, trained: ['a<e>\n', 'b<e>\n'] })
  })

  it('may mark the last turn alone, or more than an answer', () => {
    const last = `${think}{% if loop.last %}${marked(ended)}{% else %}${ended}{% endif %}`
    expect(trainedOf(turn(last), messages)).toMatchObject({ ...plain, trained: ['b<e>\n'] })
    const whole = `{% for m in messages %}${marked('<s>{{ m.role }}{{ m.content }}<e>')}{% endfor %}`
    expect(trainedOf(whole, messages.slice(0, 2)).trained).toEqual(['<s>userq<e><s>assistanta<e>'])
  })

  it('may leave the end of a turn out, which is counted', () => {
    const open = turn(`${think}${marked('{{ m.content }}')}<e>\n`)
    expect(trainedOf(open, messages)).toMatchObject({ ...plain, trained: ['a', 'b'], openEnds: 2 })
  })

  it('trains tokens that are partly marked', () => {
    const tokenizer = tokenizerOf({ special: ['<e>', '<s>'], pieces: ['>b', 'c!'] })
    const template = turn(`>${marked('{{ m.content }}')}!<e>`)
    const one = [user('q'), assistant('bac')]
    expect(trainedOf(template, one, {}, tokenizer).trained).toEqual(['>bac!'])
  })

  it('counts what it leaves out, of all that it writes', () => {
    const mute = turn(marked(ended))
    expect(trainedOf(mute, messages)).toMatchObject({ ...plain, droppedReasoning: 2 })
    const calls = [user('q'), assistant('', { tool_calls: [call('add')] })]
    expect(trainedOf(mute, calls)).toMatchObject({ ...plain, trained: ['<e>\n'], droppedCalls: 1 })
  })

  it('trains nothing of a turn of weight 0', () => {
    const weighed = messages.map((message, i) => (i === 1 ? { ...message, weight: 0 } : message))
    expect(trainedOf(turn(marked(ended)), weighed).trained).toEqual(['b<e>\n'])
    const numbered = `Q{{ messages[0].content }}${marked('{{ messages[1].content }}<e>')}`
    expect(trainedOf(numbered, messages.slice(0, 2)).trained).toEqual(['a<e>'])
    expect(() => trainedOf(numbered, weighed.slice(0, 2))).toThrow(
      /^rows\.jsonl:3: .* marks stand in no loop .*weight 0/,
    )
  })

  it('is refused where its marks are in text that may be changed', () => {
    for (const hidden of [
      `{% macro said(m) %}${marked(ended)}{% endmacro %}${turn('{{ said(m) }}')}`,
      turn(`{% set said %}${marked(ended)}{% endset %}{{ said }}`),
      turn(`{% filter upper %}${marked(ended)}{% endfilter %}`),
    ]) {
      expect(() => trainedOf(hidden, messages)).toThrow(
        /^rows\.jsonl:3: .* marks stand in a macro, a filter or a set block/,
      )
    }
  })
})
