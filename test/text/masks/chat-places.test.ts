/**
 * Where an answer begins and ends in a conversation, with templates of every kind and a tokenizer with visible tokens: given
 * pieces, and single characters.
 */
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../lib/text/template.js'
import type { CompiledTemplate } from '../../../lib/text/templates/compiled-template.js'
import { compiled, maskChat } from '../templates/compiled.js'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'

const jinja = (source: string) => compiled(source)
const user = (content: string): Message => ({ role: 'user', content })
const assistant = (content: string, more: object = {}): Message => ({ role: 'assistant', content, ...more })

/** The trained stretches as text, and how many openings were foreign. */
function places(template: CompiledTemplate, messages: readonly Message[], tokenizer = tokenizerOf()) {
  const { ids, mask, foreignOpenings } = maskChat(tokenizer, template, messages, 'row 1')
  const marked = ids.map((id, i) => (mask[i] === 1 ? tokenizer.tokenOf(id)! : '\n'))
  expect(mask.every((one) => one <= 1)).toBe(true)
  return { trained: marked.join('').split(/\n+/).filter(Boolean), foreignOpenings }
}

describe('T7 the place of an answer', () => {
  it('may be the start of the text, and follow another answer at once', () => {
    const template = jinja('{% for m in messages %}{{ m.content }}<e>{% endfor %}')
    expect(places(template, [assistant('hello')]).trained).toEqual(['hello<e>'])
    const { ids, mask } = maskChat(tokenizerOf(), template, [assistant('one'), assistant('two')], 'row 1')
    expect(ids).toHaveLength(8)
    expect([...mask]).toEqual(Array(8).fill(1))
  })

  const repeating = jinja(
    '{% for m in messages %}{% if m.role == "user" %}Q{{ m.content }}{% else %}A<t>{{ m.content }}<s>{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}A{% endif %}',
  )
  it.each(['same', '>', 'e'])('is the last in its turn where a template repeats it: %s', (answer) => {
    const messages = [user(answer), assistant(answer), user(answer), assistant(answer)]
    const trained = `<t>${answer}<s>${answer}<e>`
    expect(places(repeating, messages)).toEqual({ trained: [trained, trained], foreignOpenings: 0 })
  })

  it('is the first after its opening where the turn alone is rendered otherwise', () => {
    // The last turn has what earlier ones lack, longer than all that follows them.
    const spaced = (before: string, after: string) =>
      jinja(
        `{% for m in messages %}{% if m.role == "user" %}Q{{ m.content }}<e>{% else %}A{{ ${before} }}{{ m.content }}{{ ${after} }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}A{% endif %}`,
      )
    const messages = [user('one'), assistant('same'), user('same'), assistant('four')]
    const spaces = ' '.repeat(40)
    const before = spaced('"" if loop.last else " " * 40', '""')
    expect(places(before, messages).trained).toEqual([`${spaces}same<e>`, 'four<e>'])
    const after = spaced('""', '" " * 40 if loop.last')
    expect(places(after, messages).trained).toEqual(['same<e>', `four${spaces}<e>`])
  })

  it('is the part after its thinking that the template keeps', () => {
    const template = jinja(
      '{% for m in messages %}{% if m.role == "user" %}Q{% else %}A{{ m.content.split("</think>")[-1] }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}A{% endif %}',
    )
    expect(places(template, [user(''), assistant('deep</think>so</think>answer')]).trained).toEqual(['answer<e>'])
  })

  it('ends on an added token where no special one is', () => {
    const template = jinja('{% for m in messages %}{{ m.content }}<end>{% endfor %}')
    const tokenizer = tokenizerOf({ special: ['<other>'], added: ['<end>'] })
    expect(places(template, [assistant('hello')], tokenizer).trained).toEqual(['hello<end>'])
  })
})

describe('T9 an answer that calls tools', () => {
  const template = jinja(
    '{% for m in messages %}{% if m.role == "assistant" %}A{{ m.content if not m.silent }}{% for c in m.tool_calls or [] %}<t>{{ c }}<s>{% endfor %}<e>{% else %}Q{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}A{% endif %}',
  )
  it('is trained with its calls, up to the last end token of its turn', () => {
    const messages = [user('q'), assistant('look', { tool_calls: ['one', 'two'] }), user('r'), assistant('done')]
    expect(places(template, messages).trained).toEqual(['look<t>one<s><t>two<s><e>', 'done<e>'])
  })

  it('may have a content that the template leaves out', () => {
    const messages = [
      user('q'),
      assistant('hidden', { silent: true, tool_calls: ['one'] }),
      user('r'),
      assistant('done'),
    ]
    expect(places(template, messages).trained).toEqual(['<t>one<s><e>', 'done<e>'])
  })

  it('needs a call where its content is left out', () => {
    const messages = [user('q'), assistant('hidden', { silent: true }), user('r'), assistant('done')]
    expect(places(template, messages).trained).toEqual(['done<e>'])
  })
})

describe('T8 an opening that differs from the generation prompt', () => {
  /** A conversation and its rendered text; `opening` replaces the prompt's opening. */
  const opened = (opening: string, prompt: string) =>
    jinja(
      `{% for m in messages %}{% if m.role == "user" %}Q{{ m.content }}\n{% else %}${opening}{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}${prompt}{% endif %}`,
    )

  it('is left out as far as both agree', () => {
    const template = opened('A:', 'A:think')
    expect(places(template, [user('q'), assistant('yes')])).toEqual({ trained: ['yes<e>'], foreignOpenings: 1 })
    // An answer that goes on as the prompt does begins where the answer does.
    expect(places(template, [user('q'), assistant('the')])).toEqual({ trained: ['the<e>'], foreignOpenings: 1 })
    expect(places(opened('A', 'AB'), [assistant('hi')])).toEqual({ trained: ['hi<e>'], foreignOpenings: 1 })
  })

  it('is distinguished from a question that repeats the answer', () => {
    const messages = [user('same'), assistant('same'), user('same'), assistant('same')]
    expect(places(opened('A:', 'A:think'), messages).trained).toEqual(['same<e>', 'same<e>'])
  })

  it('is refused if they have nothing in common', () => {
    expect(() => places(opened('B:', 'A:'), [user('q'), assistant('yes')])).toThrow(
      /messages\[1\].*does not go on where its generation prompt begins/,
    )
  })

  it('may be missing right after another answer', () => {
    const template = jinja(
      '{% for m in messages %}{% if m.role == "user" %}Q{{ m.content }}<e>{% else %}{% if loop.first or loop.previtem.role == "user" %}A:{% endif %}{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}',
    )
    const { trained, foreignOpenings } = places(template, [user('q'), assistant('a'), assistant('b')])
    expect(trained.join('')).toBe('a<e>b<e>')
    expect(foreignOpenings).toBe(1)
  })
})

describe('T8 a token across the start of an answer', () => {
  const template = jinja(
    '{% for m in messages %}{% if m.role == "user" %}Q{% else %}X{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}X{% endif %}',
  )
  const letters = 'abcdefghijklmnop'
  /** Pairs of letters from the first, and from the second with X before: they meet after `count` tokens of the latter. */
  const pieces = (count: number) => {
    const pair = (i: number) => `X${letters}`.slice(i, i + 2)
    const shifted = Array.from({ length: count - 1 }, (_, i) => pair(2 * i))
    const alone = Array.from({ length: count - 1 }, (_, i) => pair(2 * i + 1))
    return [...shifted, ...alone]
  }

  it.each([2, 5, 8])('is left out, with those up to where the answer alone has the same ones: %d', (count) => {
    const tokenizer = tokenizerOf({ pieces: pieces(count) })
    const { trained } = places(template, [user(''), assistant(letters)], tokenizer)
    expect(trained).toEqual([`${letters.slice(2 * count - 2)}<e>`])
    // Also where it is the first of all.
    expect(places(template, [assistant(letters)], tokenizer).trained).toEqual(trained)
  })

  it('is left out where the answer alone has as many tokens, and the same last one', () => {
    const tokenizer = tokenizerOf({ pieces: ['Xa', 'ab'] })
    expect(places(template, [user(''), assistant('ab'), user('')], tokenizer).trained).toEqual(['<e>'])
  })

  it('is the first of the answer where the tokenizer has the space before it in it', () => {
    const plain = tokenizerOf({ pieces: [' a'] })
    const tokenizer = Object.assign(plain, { alone: (text: string) => plain.placed(` ${text}`).ids })
    const spaced = jinja(
      '{% for m in messages %}X {{ m.content }}<e>{% endfor %}{% if add_generation_prompt %}X {% endif %}',
    )
    expect(places(spaced, [assistant('abc')], tokenizer).trained).toEqual([' abc<e>'])
  })

  it('is refused where they do not meet within eight tokens', () => {
    const tokenizer = tokenizerOf({ pieces: pieces(9) })
    expect(() => places(template, [user(''), assistant(letters)], tokenizer)).toThrow(
      /cannot be distinguished from those around/,
    )
  })

  it('is refused where the end of a turn is no token of its own', () => {
    const messages = [user(''), assistant('a'), user('')]
    const alone = tokenizerOf({ pieces: ['a<e>'] })
    expect(() => places(template, messages, alone)).toThrow(/does not find "<e>", which ends/)
    // Together with the following text it is another token, though an added one.
    const goesOn = tokenizerOf({ added: ['<e>Q'] })
    expect(() => places(template, messages, goesOn)).toThrow(/cannot be distinguished from those around/)
    // An empty answer, of which the template leaves nothing.
    const whole = tokenizerOf({ added: ['X<e>'] })
    expect(() => places(template, [user(''), assistant('')], whole)).toThrow(
      /cannot be distinguished from those around/,
    )
  })
})

describe('T11 a beginning of the text', () => {
  const tokenizer = tokenizerOf({ special: ['<b>', '<e>'], bos: '<b>' })
  const starting = (start: string) => jinja(`${start}{% for m in messages %}{{ m.content }}<e>{% endfor %}`)
  it('is refused twice at the start only', () => {
    expect(() => places(starting('<b><b>'), [user('q')], tokenizer)).toThrow(/begins with <b> twice/)
    for (const start of ['', '<b>', 'a<b>', 'a<b><b>', '<b>a<b>']) places(starting(start), [user('q')], tokenizer)
    expect(places(starting('ab'), [user('q')]).trained).toEqual([])
  })

  it('with an answer without an end is refused', () => {
    const endless = jinja('{% for m in messages %}{{ m.content }}{% endfor %}')
    expect(() => places(endless, [user('q'), assistant('a')])).toThrow(/no special token after messages\[1\]/)
  })
})
