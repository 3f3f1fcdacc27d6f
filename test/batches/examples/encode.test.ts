import { beforeAll, describe, expect, it } from 'vitest'
import { checkIds, type EncodeOptions, encodeRow } from '../../../lib/batches/examples/encode.js'
import { countTargets } from '../../../lib/batches/examples/example.js'
import { RowReading } from '../../../lib/rows/reading.js'
import { ChatTemplate, type TemplateContext } from '../../../lib/text/template.js'
import type { Tokenizer } from '../../../lib/text/tokenizer.js'
import { loadSmallTokenizer, loadTemplate } from '../../text/tokenizer/small-tokenizer.js'

let tokenizer: Tokenizer
let chatml: ChatTemplate
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
  chatml = await loadTemplate('chatml', tokenizer)
})

async function encode(value: unknown, options: Partial<EncodeOptions> = {}) {
  const settings: EncodeOptions = { tokenizer, template: null, maxLength: 1024, trainOn: 'completion', ...options }
  const encoded = await encodeRow(new RowReading().training({ value, where: 'row 1' }), 'row 1', settings)
  return { ...encoded, rows: encoded.rows.flatMap(({ documents }) => documents) }
}

async function only(value: unknown, options: Partial<EncodeOptions> = {}) {
  const { rows } = await encode(value, options)
  expect(rows).toHaveLength(1)
  return { ids: [...rows[0]!.ids], mask: [...rows[0]!.mask] }
}

describe('a text row', () => {
  it('has BOS by rule and EOS once, all trained', async () => {
    const ids = [0, ...(await tokenizer.encode('The river')), 1]
    expect(await only({ text: 'The river' })).toEqual({ ids, mask: ids.map(() => 1) })
    expect((await only({ text: 'The river<|end|>' })).ids).toEqual(ids)
  })

  it('T6 is cut into rows of maxLength, none of which is without a target', async () => {
    const text = 'The river runs past the old mill and into the quiet harbour'
    const whole = (await only({ text })).ids
    for (let maxLength = 3; maxLength <= whole.length; maxLength++) {
      const { rows, length, cut } = await encode({ text }, { maxLength, longRows: 'drop' })
      expect(rows.flatMap(({ ids }) => [...ids])).toEqual(whole)
      expect(length).toBe(whole.length)
      expect(cut).toBeUndefined()
      for (const { ids, mask } of rows) {
        expect(ids.length).toBeLessThanOrEqual(maxLength)
        expect(countTargets([{ mask }])).toBe(ids.length - 1)
      }
    }
  })
})

describe('a prompt and its completion', () => {
  const row = { prompt: 'How many boats?', completion: ' six' }

  it('are joined without a template, EOS trained', async () => {
    const prompt = [0, ...(await tokenizer.encode(row.prompt))]
    const completion = [...(await tokenizer.encode(row.completion)), 1]
    expect(await only(row)).toEqual({
      ids: [...prompt, ...completion],
      mask: [...prompt.map(() => 0), ...completion.map(() => 1)],
    })
  })

  it('are two turns of a chat with one', async () => {
    const messages = [
      { role: 'user', content: row.prompt },
      { role: 'assistant', content: row.completion },
    ]
    expect(await only(row, { template: chatml })).toEqual(await only({ messages }, { template: chatml }))
  })

  it('are both trained with trainOn all', async () => {
    expect((await only(row, { trainOn: 'all' })).mask).not.toContain(0)
    expect((await only(row, { trainOn: 'all', template: chatml })).mask).not.toContain(0)
  })

  it('T6 keep the whole prompt and lose the end of the completion, without a new EOS', async () => {
    const long = { prompt: 'How many boats?', completion: 'one two three four five six seven' }
    const full = await only(long)
    const first = full.mask.indexOf(1)
    for (let maxLength = first + 1; maxLength < full.ids.length; maxLength++) {
      for (const longRows of ['keep-start', 'keep-end', 'split'] as const) {
        const { rows, cut, length } = await encode(long, { maxLength, longRows })
        expect(rows.map(({ ids }) => [...ids])).toEqual([full.ids.slice(0, maxLength)])
        expect([...rows[0]!.mask]).toEqual(full.mask.slice(0, maxLength))
        expect(cut).toEqual({ turns: 0, inside: 1 })
        expect(length).toBe(full.ids.length)
      }
    }
  })

  it('T6 are left out if the prompt alone fills the row, unless it is trained, too', async () => {
    const full = await only(row)
    const first = full.mask.indexOf(1)
    for (let maxLength = 2; maxLength <= first; maxLength++) {
      expect(await encode(row, { maxLength })).toEqual({ rows: [], length: full.ids.length, cut: { questions: 1 } })
      const { rows } = await encode(row, { maxLength, trainOn: 'all' })
      expect(rows).toEqual([
        { ids: Int32Array.from(full.ids.slice(0, maxLength)), mask: new Uint8Array(maxLength).fill(1) },
      ])
    }
  })

  it('T6 are left out, or refused with their length, if that is asked for', async () => {
    const { ids } = await only(row)
    const maxLength = ids.length - 1
    expect(await encode(row, { maxLength, longRows: 'drop' })).toEqual({
      rows: [],
      length: ids.length,
      cut: { dropped: 1 },
    })
    await expect(encode(row, { maxLength, longRows: 'error' })).rejects.toMatchObject({
      code: 'row-too-long',
      message: expect.stringContaining(`row 1: the row has ${ids.length} tokens, more than maxLength ${maxLength};`),
    })
    expect(await encode(row, { maxLength: ids.length, longRows: 'error' })).toMatchObject({ length: ids.length })
  })

  it('T10 keeps EOS trained although it is the pad token', async () => {
    const { ids, mask } = await only(row)
    expect(ids.at(-1)).toBe(tokenizer.padId)
    expect(mask.at(-1)).toBe(1)
  })
})

describe('a conversation', () => {
  const chat = (...messages: object[]) => ({ messages })
  const template = (source: string) => new ChatTemplate({ source, specialTokens: {}, origin: 'test' })

  it('is refused if its template does not know a role', async () => {
    const usr = chat({ role: 'usr', content: 'q' }, { role: 'assistant', content: 'a' })
    await expect(only(usr, { template: chatml })).rejects.toThrow(
      /^row 1: messages\[0\]\.role: "usr" is no role .*perhaps "user" was meant\.$/,
    )
    const named = template("{% for m in messages %}{{ '?' if m.role == 'usr' }}{{ m.content }}<|im_end|>{% endfor %}")
    expect((await only(usr, { template: named })).mask).toContain(1)
  })

  it('may contain tools, and variables of the template', async () => {
    const source =
      '{{ tools | tojson }}{{ mood }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}'
    const text = async (row: object, context: TemplateContext = {}) =>
      (await tokenizer.decode((await only(row, { template: template(source), context })).ids)).split('<|im_start|>')[0]
    const messages = [{ role: 'user', content: 'q' }]
    expect(await text({ messages })).toBe('null')
    const context = { tools: [1], templateOptions: { mood: 'x' } }
    expect(await text({ messages }, context)).toBe('[1]x')
    expect(await text({ messages, tools: [], chat_template_kwargs: { mood: 'y' } }, context)).toBe('[]y')
    expect(await text({ prompt: 'q', completion: 'a' }, context)).toBe('[1]x')
  })

  const turns = [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: 'How many boats?' },
    { role: 'assistant', content: 'six' },
    { role: 'user', content: 'and mills?' },
    { role: 'assistant', content: 'one old mill by the river' },
    { role: 'user', content: 'where?' },
  ]
  const texts = async (maxLength: number, options: Partial<EncodeOptions> = {}) => {
    const { rows, cut } = await encode(chat(...turns), { template: chatml, maxLength, ...options })
    return { texts: await Promise.all(rows.map(({ ids }) => tokenizer.decode(ids))), cut }
  }
  const instruction = '<|im_start|>system\nbe brief<|im_end|>\n'
  const first = '<|im_start|>user\nHow many boats?<|im_end|>\n<|im_start|>assistant\nsix<|im_end|>'
  const second = '<|im_start|>user\nand mills?<|im_end|>\n<|im_start|>assistant\none old mill by the river<|im_end|>'
  const lengthOf = async (text: string) => (await tokenizer.encode(text)).length

  it('T6 keeps whole turns from the start, and none behind the last answer', async () => {
    const whole = await lengthOf(`${instruction}${first}\n${second}`)
    for (let maxLength = await lengthOf(instruction + first); maxLength < whole; maxLength++) {
      const { texts: kept, cut } = await texts(maxLength)
      expect(kept).toHaveLength(1)
      const answer = `${instruction}${first}\n${second.split('one old')[0]}`
      if (kept[0]!.length > answer.length) {
        expect(`${instruction}${first}\n${second}`.startsWith(kept[0]!)).toBe(true)
        expect(await lengthOf(kept[0]!)).toBe(maxLength)
        expect(cut).toEqual({ turns: 1, inside: 1 })
      } else {
        expect(kept[0]).toBe(instruction + first)
        expect(cut).toEqual({ turns: 1, inside: 0 })
        expect(maxLength).toBeLessThanOrEqual(await lengthOf(answer))
      }
    }
    expect((await texts(whole)).texts).toEqual([`${instruction}${first}\n${second}`])
  })

  it('T6 keeps its end after the system message, or becomes several rows', async () => {
    const room = (await lengthOf(instruction + second)) + 1
    expect(await texts(room, { longRows: 'keep-end' })).toEqual({
      texts: [`${instruction}${second}\n`],
      cut: { turns: 1, inside: 0 },
    })
    const split = await texts(room, { longRows: 'split' })
    expect(split.texts).toEqual([`${instruction}${first}\n`, `${instruction}${second}\n`])
    expect(split.cut).toEqual({ turns: 1, inside: 0, split: 1, into: 2 })
    const cut = await texts(room - 3, { longRows: 'split' })
    expect(cut.texts[0]).toBe(`${instruction}${first}\n`)
    expect(`${instruction}${second}`.startsWith(cut.texts[1]!)).toBe(true)
    expect(cut.cut).toEqual({ turns: 1, inside: 1, split: 1, into: 2 })
  })

  it('T6 is left out if no content of its first answer fits', async () => {
    const question = await lengthOf(instruction + first.split('six')[0])
    for (let maxLength = 2; maxLength <= question; maxLength++) {
      expect(await texts(maxLength)).toEqual({ texts: [], cut: { questions: 1 } })
    }
    expect((await texts(question + 1)).texts).toHaveLength(1)
  })

  it('T6 without any answer keeps its first tokens, to be counted as a row without a target', async () => {
    const { rows } = await encode(chat({ role: 'user', content: 'How many boats?' }), {
      template: chatml,
      maxLength: 4,
    })
    expect(rows.map(({ ids, mask }) => [ids.length, countTargets([{ mask }])])).toEqual([[4, 0]])
  })

  it('is trained whole if its answers cannot be found and everything is trained', async () => {
    const endless = template('{% for m in messages %}{{ m.content }}{% endfor %}')
    const row = chat({ role: 'user', content: 'q' }, { role: 'assistant', content: 'a' })
    await expect(only(row, { template: endless })).rejects.toThrow(/no special token after messages\[1\]/)
    expect((await only(row, { template: endless, trainOn: 'all' })).mask).toEqual([1, 1])
  })
})

describe('other rows', () => {
  it('takes input_ids and labels as they are', async () => {
    expect(await only({ input_ids: [7, 8, 9], labels: [-100, 8, 9] })).toEqual({ ids: [7, 8, 9], mask: [0, 1, 1] })
    expect(await only({ input_ids: [7, 8, 9] }, { tokenizer: null })).toEqual({ ids: [7, 8, 9], mask: [1, 1, 1] })
  })

  it('T6 cuts input_ids by their labels, each stretch of which ends a turn', async () => {
    const row = { input_ids: [1, 2, 3, 4, 5, 6, 7, 8], labels: [-100, 2, 3, -100, -100, 6, 7, -100] }
    const of = async (maxLength: number, longRows: EncodeOptions['longRows']) =>
      (await encode(row, { maxLength, longRows })).rows.map(({ ids, mask }) => [[...ids].join(''), [...mask].join('')])
    expect(await of(6, 'keep-start')).toEqual([['123456', '011001']])
    expect(await of(5, 'keep-start')).toEqual([['123', '011']])
    expect(await of(2, 'keep-start')).toEqual([['12', '01']])
    expect(await of(5, 'keep-end')).toEqual([['4567', '0011']])
    expect(await of(4, 'split')).toEqual([
      ['123', '011'],
      ['4567', '0011'],
    ])
    const late = await encode({ input_ids: [1, 2, 3], labels: [-100, -100, 3] }, { maxLength: 2 })
    expect(late).toEqual({ rows: [], length: 3, cut: { questions: 1 } })
  })

  it('T6 cuts input_ids without labels anywhere', async () => {
    const of = async (longRows: EncodeOptions['longRows']) =>
      (await encode({ input_ids: [1, 2, 3, 4, 5] }, { maxLength: 3, longRows })).rows.map(({ ids }) =>
        [...ids].join(''),
      )
    expect(await of('keep-start')).toEqual(['123'])
    expect(await of('keep-end')).toEqual(['345'])
    expect(await of('split')).toEqual(['123', '45'])
  })

  it('refuses messages without a template and text without a tokenizer', async () => {
    const chat = encode({ messages: [{ role: 'user', content: 'x' }] })
    await expect(chat).rejects.toThrow(/row 1: messages need a chat template/)
    await expect(encode({ text: 'x' }, { tokenizer: null })).rejects.toThrow(/row 1: the model has no tokenizer/)
  })

  it('names the row of an id past the vocabulary', () => {
    expect(() => checkIds(Int32Array.of(1, 12), 12, 'a.jsonl:4')).toThrow(/a\.jsonl:4: id 12 at position 1 .* 12/)
  })
})
