/** Rows with more tokens than the limit, under templates that models ship (in MORA_TEST_ASSETS) and seeded random conversations. */
import { describe, expect, it } from 'vitest'
import { type LimitOptions, limitRow } from '../../../lib/batches/examples/long-rows.js'
import { InputError } from '../../../lib/common/errors.js'
import { type RandomStream, randomStream } from '../../../lib/common/random.js'
import type { Message } from '../../../lib/text/templates/messages.js'
import { lacksTemplates } from '../../assets.js'
import { needing } from '../../needs.js'
import { compiled, type ListedChat, maskChat } from '../../text/templates/compiled.js'
import { type RealTemplate, realTemplates } from '../../text/templates/real-templates.js'
import { tokenizerOf } from '../../text/tokenizer/visible-tokenizer.js'

interface Said {
  role: string
  /** Where the content stands in the text. */
  start: number
  end: number
}

interface Conversation {
  chat: ListedChat
  tokens: string[]
  text: string
  said: Said[]
  messages: Message[]
}

/** A conversation each content of which begins with a letter that stands nowhere else. */
function randomMessages(random: RandomStream): Message[] {
  let count = 0
  const content = () => `${'αβγδεζηθικλμν'[count++]}${'v'.repeat(random.integer(30))}.`
  const messages: Message[] = random.integer(2) === 0 ? [] : [{ role: 'system', content: content() }]
  for (let turn = random.integer(5) + 1; turn > 0; turn--) {
    messages.push({ role: 'user', content: content() }, { role: 'assistant', content: content() })
  }
  return random.integer(3) === 0 ? [...messages, { role: 'user', content: content() }] : messages
}

/** Returns undefined for a conversation that the template refuses. */
function conversation(real: RealTemplate, messages: Message[]): Conversation | undefined {
  const tokenizer = tokenizerOf({ special: real.specialTokens, added: real.addedTokens })
  try {
    const chat = maskChat(tokenizer, real.template, messages, 'row 1')
    const tokens = chat.ids.map((id) => tokenizer.tokenOf(id)!)
    const text = tokens.join('')
    const said = messages.map(({ role, content }) => {
      const start = text.indexOf(content as string)
      return { role, start, end: start + (content as string).length }
    })
    return { chat, tokens, text, said, messages }
  } catch (error) {
    if (error instanceof InputError && error.code === 'template-failed') return undefined
    throw error
  }
}

function limited({ chat }: Conversation, options: Partial<LimitOptions>) {
  const row = { ids: Int32Array.from(chat.ids), mask: chat.mask.slice() }
  return limitRow(row, chat.turns, 'row 1', { maxLength: 1024, trainOn: 'completion', ...options })
}

needing(lacksTemplates).describe('T6 a conversation that is too long', () => {
  const templates = lacksTemplates === null ? realTemplates() : []
  const lengths = (random: RandomStream, whole: number) =>
    Array.from({ length: 10 }, () => 2 + random.integer(whole + 2))

  /** Calls `examine` with random conversations under a template and random limits. */
  function examined(real: RealTemplate, examine: (one: Conversation, maxLength: number) => void): number {
    const random = randomStream(7, real.name)
    let count = 0
    for (let trial = 0; trial < 12; trial++) {
      const one = conversation(real, randomMessages(random))
      if (!one) continue
      for (const maxLength of lengths(random, one.tokens.length)) {
        examine(one, maxLength)
        count++
      }
    }
    return count
  }

  const textOf = (one: Conversation, ids: Int32Array) => {
    const spelling = new Map(one.chat.ids.map((id, i) => [id, one.tokens[i]!]))
    return [...ids].map((id) => spelling.get(id)!).join('')
  }

  /** Contents of which a part stands in a text; the whole one if it is complete. */
  const shown = (one: Conversation, text: string) =>
    one.said.flatMap(({ role, start, end }, i) => {
      const content = one.text.slice(start, end)
      return text.includes(content[0]!) ? [{ role, i, isWhole: text.includes(content) }] : []
    })

  describe.each(templates.map((real) => [real.name, real] as const))('%s', (_, real) => {
    it('keeps its start, ends inside no header, and loses nothing if it fits', () => {
      const count = examined(real, (one, maxLength) => {
        const { documents: rows, cut, length } = limited(one, { maxLength })
        expect(length).toBe(one.tokens.length)
        if (length <= maxLength) {
          expect(rows).toEqual([{ ids: Int32Array.from(one.chat.ids), mask: one.chat.mask }])
          expect(cut).toBeUndefined()
          return
        }
        const first = one.said.find(({ role }) => role === 'assistant')!
        if (rows.length === 0) {
          // Not even the first character of the first answer's content fits.
          expect(cut).toEqual({ questions: 1 })
          expect(one.tokens.slice(0, maxLength).join('').length).toBeLessThanOrEqual(first.start)
          return
        }
        const [row] = rows
        expect(row!.ids.length).toBeLessThanOrEqual(maxLength)
        expect([...row!.ids]).toEqual(one.chat.ids.slice(0, row!.ids.length))
        expect([...row!.mask]).toEqual([...one.chat.mask.slice(0, row!.ids.length)])
        expect(row!.mask.at(-1)).toBe(1)
        const end = one.tokens.slice(0, row!.ids.length).join('').length
        const last = one.said.findLast(({ start }) => start < end)!
        expect(last.role).toBe('assistant')
        expect(end, 'more than the header').toBeGreaterThan(last.start)
        // What was dropped did not fit.
        const next = one.said.find(({ role, start }) => role === 'assistant' && start >= end)
        if (end >= last.end && next)
          expect(one.tokens.slice(0, maxLength).join('').length).toBeLessThanOrEqual(next.start)
        expect(cut).toMatchObject({
          inside: end < last.end ? 1 : cut!.inside,
          turns: one.said.some(({ start }) => start >= end) ? 1 : 0,
        })
      })
      expect(count).toBeGreaterThan(0)
    })

    it('ends inside no header if everything is trained, and keeps all that fits', () => {
      examined(real, (one, maxLength) => {
        if (one.tokens.length <= maxLength) return
        const { documents: rows, cut } = limited(one, { maxLength, trainOn: 'all' })
        if (rows.length === 0) {
          expect(cut).toEqual({ questions: 1 })
          const spoken = one.said.find(({ role }) => role !== 'system')!
          expect(one.tokens.slice(0, maxLength).join('').length).toBeLessThanOrEqual(spoken.start)
          return
        }
        const { length } = rows[0]!.ids
        expect([...rows[0]!.ids]).toEqual(one.chat.ids.slice(0, length))
        expect([...rows[0]!.mask]).toEqual(Array(length).fill(1))
        if (length === maxLength) return
        const [end, room] = [length, maxLength].map((tokens) => one.tokens.slice(0, tokens).join('').length) as [
          number,
          number,
        ]
        const [before, after] = [
          one.said.findLast(({ start }) => start < end),
          one.said.find(({ start }) => start >= end),
        ]
        expect(end).toBeGreaterThanOrEqual(before!.end)
        expect(room).toBeLessThanOrEqual(after!.start)
      })
    })

    it('is cut within its limits with tools and reasoning, too', () => {
      const random = randomStream(8, real.name)
      const tokenizer = tokenizerOf({ special: real.specialTokens, added: real.addedTokens })
      for (const { text, messages, tools, options } of real.conversations) {
        if (text === undefined) continue
        const chat = maskChat(tokenizer, real.template, messages, 'row 1', { tools, templateOptions: options })
        for (const maxLength of lengths(random, chat.ids.length)) {
          for (const longRows of ['keep-start', 'keep-end', 'split'] as const) {
            const row = { ids: Int32Array.from(chat.ids), mask: chat.mask.slice() }
            const { documents: rows } = limitRow(row, chat.turns, 'row 1', {
              maxLength,
              longRows,
              trainOn: 'completion',
            })
            const isWhole = chat.ids.length <= maxLength
            if (isWhole) expect(rows).toEqual([{ ids: row.ids, mask: chat.mask }])
            for (const { ids, mask } of rows) {
              expect(ids.length).toBeLessThanOrEqual(maxLength)
              if (chat.mask.includes(1, 1)) expect(mask.includes(1, 1)).toBe(true)
              if (longRows === 'keep-start') expect([...ids]).toEqual(chat.ids.slice(0, ids.length))
            }
          }
        }
      }
    })

    it('keeps its end from a question on, after the system message', () => {
      examined(real, (one, maxLength) => {
        const { documents: rows } = limited(one, { maxLength, longRows: 'keep-end' })
        if (one.tokens.length <= maxLength || rows.length === 0) return
        expect(rows).toHaveLength(1)
        expect(rows[0]!.ids.length).toBeLessThanOrEqual(maxLength)
        checkPart(one, rows[0]!)
        const seen = shown(one, textOf(one, rows[0]!.ids)).filter(({ role }) => role === 'assistant')
        const answers = one.said.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []))
        expect(seen.at(-1)!.i).toBe(answers.at(-1))
        expect(seen.map(({ i }) => i)).toEqual(answers.slice(-seen.length))
      })
    })

    it('becomes several rows, each with whole exchanges', () => {
      examined(real, (one, maxLength) => {
        const { documents: rows, cut } = limited(one, { maxLength, longRows: 'split' })
        if (one.tokens.length <= maxLength) return
        if (rows.length > 1) expect(cut).toMatchObject({ split: 1, into: rows.length })
        const all = rows.flatMap((row) => {
          expect(row.ids.length).toBeLessThanOrEqual(maxLength)
          checkPart(one, row)
          return shown(one, textOf(one, row.ids))
            .filter(({ role }) => role === 'assistant')
            .map(({ i }) => i)
        })
        expect(all).toEqual([...new Set(all)].sort((a, b) => a - b))
      })
    })

    /** A part has the system message, begins with a question, and each answer but the last is whole. */
    function checkPart(one: Conversation, row: { ids: Int32Array; mask: Uint8Array }): void {
      const text = textOf(one, row.ids)
      const seen = shown(one, text)
      if (one.said[0]!.role === 'system' && one.said[0]!.start >= 0)
        expect(seen[0], text).toMatchObject({ role: 'system', isWhole: true })
      const spoken = seen.filter(({ role }) => role !== 'system')
      expect(spoken[0]!.role).toBe('user')
      for (const [k, { i }] of spoken.entries()) if (k > 0) expect(i).toBe(spoken[k - 1]!.i + 1)
      for (const { isWhole } of spoken.slice(0, -1)) expect(isWhole).toBe(true)
      const trained = [...row.ids]
        .map((_, i) => (row.mask[i] ? one.tokens[one.chat.ids.indexOf(row.ids[i]!)]! : '\0'))
        .join('')
      for (const { role, start, end } of one.said) {
        if (role === 'user') expect(trained).not.toContain(one.text.slice(start, end))
      }
    }
  })
})

describe('T6 a template of its own', () => {
  const special = ['<s>', '<u>', '<a>', '<e>']
  const tokenizer = tokenizerOf({ special, bos: '<s>' })

  /** The texts of what is kept, with its trained tokens in brackets. */
  function kept(source: string, messages: Message[], options: Partial<LimitOptions>) {
    const chat = maskChat(tokenizer, compiled(source), messages, 'row 1')
    const row = { ids: Int32Array.from(chat.ids), mask: chat.mask }
    const limits = { maxLength: 1024, trainOn: 'completion', bosId: tokenizer.bosId, ...options } as const
    const { documents: rows, cut } = limitRow(row, chat.turns, 'row 1', limits)
    const texts = rows.map(({ ids, mask }) =>
      [...ids].map((id, i) => (mask[i] ? `[${tokenizer.tokenOf(id)}]` : tokenizer.tokenOf(id))).join(''),
    )
    return { texts: texts.map((text) => text.replaceAll('][', '')), cut }
  }
  const exchanges = (...contents: string[]): Message[] =>
    contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }))

  const open =
    "<s>{% for m in messages %}{{ '<u>' if m.role == 'user' else '<a>' }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"

  it('in which the next turn ends an answer: its first token stays as the end of the answer before it', () => {
    const messages = exchanges('p', 'one', 'q', 'two', 'r', 'six')
    const whole = '<s><u>p<a>[one<u>]q<a>[two<u>]r<a>[six<u>]'
    expect(kept(open, messages, {}).texts).toEqual([whole])
    expect(kept(open, messages, { maxLength: 9 }).texts).toEqual(['<s><u>p<a>[one<u>]'])
    expect(kept(open, messages, { maxLength: 8 }).texts).toEqual(['<s><u>p<a>[one<u>]'])
    expect(kept(open, messages, { maxLength: 7 }).texts).toEqual(['<s><u>p<a>[one]'])
    expect(kept(open, messages, { maxLength: 15, longRows: 'keep-end' }).texts).toEqual([
      '<s><u>q<a>[two<u>]r<a>[six<u>]',
    ])
    expect(kept(open, messages, { maxLength: 9, longRows: 'split' }).texts).toEqual([
      '<s><u>p<a>[one<u>]',
      '<s><u>q<a>[two<u>]',
      '<s><u>r<a>[six<u>]',
    ])
  })

  const alike =
    '{% for m in messages %}<s>{{ m.role[0] ~ m.content }}<e>{% endfor %}{% if add_generation_prompt %}<s>a{% endif %}'

  it('that begins every turn with BOS: none is added', () => {
    const messages = exchanges('p', 'one', 'q', 'two')
    const [one, two] = ['<s>up<e><s>a[one<e>]', '<s>uq<e><s>a[two<e>]']
    expect(kept(alike, messages, { maxLength: 12, longRows: 'split' }).texts).toEqual([one, two])
    expect(kept(alike, messages, { maxLength: 12, longRows: 'keep-end' }).texts).toEqual([two])
  })

  const folding =
    "<s>{% for m in messages %}{% if m.role == 'user' %}<u>{% if loop.index0 == 1 and messages[0].role == 'system' %}{{ messages[0].content }}: {% endif %}{{ m.content }}<e>{% elif m.role == 'assistant' %}<a>{{ m.content }}<e>{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"

  it('that writes the system message into the first question: others follow it without their header', () => {
    const messages = [{ role: 'system', content: 'be' }, ...exchanges('p', 'one', 'q', 'two')]
    expect(kept(folding, messages, {}).texts).toEqual(['<s><u>be: p<e><a>[one<e>]<u>q<e><a>[two<e>]'])
    const one = '<s><u>be: p<e><a>[one<e>]'
    const two = '<s><u>be: q<e><a>[two<e>]'
    expect(kept(folding, messages, { maxLength: 14, longRows: 'split' }).texts).toEqual([one, two])
    expect(kept(folding, messages, { maxLength: 15, longRows: 'keep-end' }).texts).toEqual([two])
  })

  const unrolled =
    "<s>S{% set n = messages | length %}{% for i in range(n) %}{{ ('<u>' if i % 2 == 0 else '<a>') ~ messages[i].content ~ '<e>' }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"

  it('that does not loop over messages: stretches of the mask stand for turns', () => {
    const messages = exchanges('p', 'one', 'q', 'two')
    expect(kept(unrolled, messages, {}).texts).toEqual(['<s>S<u>p<e><a>[one<e>]<u>q<e><a>[two<e>]'])
    expect(kept(unrolled, messages, { maxLength: 12 }).texts).toEqual(['<s>S<u>p<e><a>[one<e>]'])
    expect(kept(unrolled, messages, { maxLength: 12, longRows: 'keep-end' }).texts).toEqual(['<s><u>q<e><a>[two<e>]'])
  })

  it('whose answer in the middle is not trained keeps it before a trained one only', () => {
    const messages = exchanges('p', 'one', 'q', 'two')
    messages[1] = { ...messages[1]!, weight: 0 }
    expect(kept(folding, messages, { maxLength: 12 }).cut).toEqual({ questions: 1 })
    expect(kept(folding, messages, { maxLength: 15 }).texts).toEqual(['<s><u>p<e><a>one<e><u>q<e><a>[tw]'])
  })
})
