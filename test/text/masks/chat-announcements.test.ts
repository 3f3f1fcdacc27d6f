/** Where an answer begins: the template's generation prompt, compared with the text that it writes before an answer. */
import { describe, expect, it } from 'vitest'
import { maskChat } from '../templates/compiled.js'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'
import { assistant, system, templateOf, trainedOf, user } from './conversations.js'

/** Makes a template: a loop over messages with a given body, and a generation prompt after it. */
const looped = (turn: string, prompt = '') =>
  `{% for m in messages %}${turn}{% endfor %}{% if add_generation_prompt %}${prompt}{% endif %}`
const turnOf = (users: string, assistants: string) =>
  `{% if m.role == "assistant" %}${assistants}{% else %}${users}{% endif %}`

const USERS = 'Q{{ m.content }}<e>'
const exchange = [user('q'), assistant('yes')]
const REFUSAL = /messages\[1\].*does not go on where its generation prompt begins/

describe('T8 an announcement', () => {
  const opened = turnOf(USERS, 'A:{{ m.content }}<e>')
  const inside = `${opened}{% if loop.last and add_generation_prompt %}A:think{% endif %}`
  const found = { trained: ['yes<e>'], foreignOpenings: 1 }

  it('may stand in the loop, with the last message', () => {
    expect(trainedOf(looped(inside), exchange)).toMatchObject(found)
  })

  it('is that of the whole conversation where the template refuses to leave a question open', () => {
    const refuses =
      '{% if loop.last and m.role == "user" and not add_generation_prompt %}{{ raise_exception("") }}{% endif %}'
    expect(trainedOf(looped(inside + refuses), exchange)).toMatchObject(found)
  })

  it('may replace the end of a conversation', () => {
    const template = `{% for m in messages %}${opened}{% endfor %}{% if add_generation_prompt %}A:think{% else %}<eos>{% endif %}`
    expect(trainedOf(template, exchange)).toMatchObject(found)
  })

  it('is searched after the text that the template writes before it, up to its last line that occurs', () => {
    const template = looped(
      '{% if loop.first and m.role != "system" %}<s>system\nBe good.<e>{% endif %}<s>{{ m.role }}{{ "\n" }}{{ m.content }}<e>',
      '<s>assistant\n<think>',
    )
    const messages = [assistant('Hello'), user('Hi'), assistant('Bye')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: ['Hello<e>', 'Bye<e>'], foreignOpenings: 2 })
    // A line that occurs whole ends it, even if more agrees after it.
    const alike = looped(
      turnOf('<s>user\n{{ m.content }}<e>', '<s>assistant\nthis: {{ m.content }}<e>'),
      '<s>assistant\nthought: ',
    )
    expect(trainedOf(alike, exchange)).toMatchObject({ trained: ['this: yes<e>'], foreignOpenings: 1 })
  })

  it('does not include a start that turns of other roles share', () => {
    const template = `<b>${looped(turnOf('<s>user\n{{ m.content }}<e>', '<s>model\n{{ m.content }}<e>'), '<s>assistant\n')}`
    expect(() => trainedOf(template, exchange)).toThrow(REFUSAL)
  })

  it('does not include the first letter of answers, whichever it is', () => {
    for (const prompt of ['A:', 'B:', 'R:']) {
      const template = looped(turnOf(USERS, '{{ m.content }}<e>'), prompt)
      expect(() => trainedOf(template, exchange)).toThrow(REFUSAL)
    }
  })

  it('ends before a token that both have a part of', () => {
    const template = looped(turnOf(USERS, 'A{{ "<tool>" if m.uses }}{{ m.content }}<e>'), 'A<think>')
    const messages = [user('q'), assistant('yes', { uses: true })]
    expect(trainedOf(template, messages)).toMatchObject({ trained: ['A<tool>yes<e>'], foreignOpenings: 1 })
  })

  it('may end in the middle of a line, with tokens before and behind', () => {
    const users = '<s>user:{{ m.content }}<e>'
    const template = looped(turnOf(users, '<s>assistant:{{ m.content }}<e>'), '<s>assistant:think')
    expect(trainedOf(template, exchange)).toMatchObject(found)
    const marked = looped(turnOf(users, '<s>assistant:<o>{{ m.content }}<e>'), '<s>assistant:think')
    expect(trainedOf(marked, exchange)).toMatchObject({ ...found, trained: ['<o>yes<e>'] })
  })

  it('may end with a token that is another one in the prompt', () => {
    const tokenizer = tokenizerOf({ special: ['<e>', '<o>', '<o>think'] })
    const template = looped(turnOf(USERS, 'A<o>{{ m.content }}<e>'), 'A<o>think')
    expect(trainedOf(template, exchange, {}, tokenizer)).toMatchObject(found)
  })

  it('is found in the text before an answer, which a prompt may change', () => {
    const changed = turnOf(USERS, 'A{{ ":" if not (loop.last and add_generation_prompt) }}{{ m.content }}<e>')
    expect(trainedOf(looped(changed, 'A:think'), exchange)).toMatchObject(found)
    // Where the template takes no other answer, in the turn as it is.
    const refuses = '{% if m.content not in ["q", "yes"] %}{{ raise_exception("") }}{% endif %}'
    expect(trainedOf(looped(refuses + opened, 'A:think'), exchange)).toMatchObject(found)
  })

  it('is missing without a known reason if the template refuses a plain answer', () => {
    const refuses = '{% if messages[0].role == "user" and messages | length > 1 %}{{ raise_exception("") }}{% endif %}'
    const template = refuses + looped(turnOf(USERS, 'B:{{ m.content }}<e>'), 'A:')
    expect(() => trainedOf(template, [system('s'), ...exchange])).toThrow(/messages\[2\].*does not go on/)
  })
})

describe('T7 without an announcement', () => {
  it('a turn begins where the previous one ends, also if that is rendered differently as the last one', () => {
    const template = looped('{{ m.content }}{{ "!" if loop.last and m.role == "user" }}<e>')
    expect(trainedOf(template, exchange)).toMatchObject({ trained: ['yes<e>'], foreignOpenings: 0 })
  })

  it('a turn is trained whole if the prompt leaves the conversation out', () => {
    const template = `{% if not add_generation_prompt %}${looped(turnOf(USERS, 'A{{ m.content }}<e>'))}{% endif %}`
    expect(trainedOf(template, exchange)).toMatchObject({ trained: ['Ayes<e>'], foreignOpenings: 0 })
  })

  it('a turn is trained whole if the template refuses to prompt for one', () => {
    const template = looped('{{ m.content }}<e>', '{{ raise_exception("") }}')
    expect(trainedOf(template, exchange)).toMatchObject({ trained: ['yes<e>'], foreignOpenings: 0 })
  })

  it('a turn is not foreign although a longer conversation has a foreign one', () => {
    const template = looped(turnOf(USERS, '{{ m.content }}<e>'), '{% if messages | length > 1 %}A:{% endif %}')
    expect(trainedOf(template, exchange)).toMatchObject({ trained: ['yes<e>'], foreignOpenings: 0 })
  })
})

describe('T7 an empty answer', () => {
  it('may be nothing but its announcement', () => {
    const template = looped(turnOf('<u>{{ m.content }}', '<a>{{ m.content }}'), '<a>')
    const empty = { trained: [], foreignOpenings: 0, openEnds: 0 }
    expect(trainedOf(template, [user('q'), assistant('')])).toMatchObject(empty)
  })

  it('ends before the next turn, whatever that begins with', () => {
    const template = looped(turnOf('{{ m.content }}', 'A{{ ":" if m.content }}{{ m.content }}'), 'A:')
    const messages = [user('q'), assistant(''), user(':x')]
    expect(trainedOf(template, messages)).toMatchObject({ trained: [], foreignOpenings: 1 })
  })
})

describe('T7 templates that do not loop over messages', () => {
  const first = '{% if messages | length > 0 %}{{ messages[0].content }}<e>{% endif %}'
  it('may begin with an answer', () => {
    const template = `${first}{% if messages | length > 1 %}Q{{ messages[1].content }}<e>{% endif %}`
    expect(trainedOf(template, [assistant('a'), user('q')])).toMatchObject({ trained: ['a<e>'], foreignOpenings: 0 })
  })

  const written = '<u>{{ messages[0].content }}{% if messages | length > 1 %}<a>{{ messages[1].content }}{% endif %}'
  it('may open the next turn with the token that ends one', () => {
    const template = `${written}{% if messages | length > 2 %}<u>{{ messages[2].content }}{% endif %}{% if add_generation_prompt %}<a>{% endif %}`
    expect(trainedOf(template, [...exchange, user('p')])).toMatchObject({ trained: ['yes<u>'], openEnds: 0 })
  })

  it('are refused where they refuse to prompt for an answer', () => {
    const refuses = '{% if add_generation_prompt %}{{ raise_exception("") }}{% endif %}'
    expect(() => trainedOf(`${refuses}${written}<e>`, exchange)).toThrow(REFUSAL)
  })

  it('are refused where an answer begins before another one ends', () => {
    const template =
      'Q{{ messages[0].content }}<e>A{% if not add_generation_prompt %}{{ messages[1].content }}<e>{% if messages | length > 2 %}Q{{ messages[2].content }}<e>A{{ messages[3].content }}<e>{% endif %}{% endif %}'
    expect(trainedOf(template, exchange).trained).toEqual(['yes<e>'])
    expect(() => trainedOf(template, [...exchange, ...exchange])).toThrow(/messages\[3\].*does not go on/)
  })

  it('are refused where they leave an answer out', () => {
    expect(() => trainedOf(first, exchange)).toThrow(REFUSAL)
  })
})

it('answers that follow each other within marks have one end', () => {
  const marked = '{% generation %}{{ m.content }}{{ "<e>" if loop.last }}{% endgeneration %}'
  const messages = [user('q'), assistant('one'), assistant('two')]
  expect(trainedOf(looped(turnOf(USERS, marked), 'A:'), messages).trained).toEqual(['onetwo<e>'])
})

it('an error other than a refusal of the template is passed on', () => {
  const template = templateOf(looped(USERS))
  const write = template.write.bind(template)
  template.write = (messages, options) => {
    if (options.addGenerationPrompt) throw new TypeError('a bug')
    return write(messages, options)
  }
  expect(() => maskChat(tokenizerOf(), template, exchange, 'row')).toThrow(TypeError)
})
