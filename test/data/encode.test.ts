import { beforeAll, describe, expect, it } from 'vitest'
import { checkIds, countTargets, type EncodeOptions, encodeRow } from '../../lib/data/encode.js'
import { RowReading } from '../../lib/data/rows/reading.js'
import { ChatTemplate, type TemplateContext } from '../../lib/data/templates/template.js'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { loadSmallTokenizer, loadTemplate } from './tokenizer/small-tokenizer.js'

let tokenizer: Tokenizer
let chatml: ChatTemplate
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
  chatml = await loadTemplate('chatml', tokenizer)
})

function encode(value: unknown, options: Partial<EncodeOptions> = {}) {
  const settings: EncodeOptions = { tokenizer, template: null, maxLength: 1024, trainOn: 'completion', ...options }
  return encodeRow(new RowReading().training({ value, where: 'row 1' }), 'row 1', settings)
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
      const { rows, truncated } = await encode({ text }, { maxLength })
      expect(rows.flatMap(({ ids }) => [...ids])).toEqual(whole)
      expect(truncated).toBe(false)
      for (const { ids, mask } of rows) {
        expect(ids.length).toBeLessThanOrEqual(maxLength)
        expect(countTargets(mask)).toBe(ids.length - 1)
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

  it('T6 loses the start of the prompt where it is too long, BOS and the answer stay', async () => {
    const full = await only(row)
    const answer = full.mask.filter((trained) => trained).length
    for (const trainOn of ['completion', 'all'] as const) {
      const { rows, truncated } = await encode(row, { maxLength: answer + 3, trainOn })
      expect(truncated).toBe(true)
      expect([...rows[0]!.ids]).toEqual([0, ...full.ids.slice(-answer - 2)])
      expect(countTargets(rows[0]!.mask)).toBe(trainOn === 'all' ? answer + 2 : answer)
    }
  })

  it('T6 loses the end of the answer only where that alone is too long', async () => {
    const long = { prompt: 'How many boats?', completion: 'one two three four five six seven' }
    const full = await only(long)
    const { rows } = await encode(long, { maxLength: 6 })
    const first = full.mask.indexOf(1)
    expect([...rows[0]!.ids]).toEqual([0, ...full.ids.slice(first - 1, first + 4)])
    expect([...rows[0]!.mask]).toEqual([0, 0, 1, 1, 1, 1])
  })

  it('T6 keeps a target at every length', async () => {
    for (const template of [null, chatml]) {
      const { ids } = await only(row, { template })
      for (let maxLength = 2; maxLength < ids.length; maxLength++) {
        const { rows } = await encode(row, { template, maxLength })
        expect(rows[0]!.ids.length).toBe(maxLength)
        expect(countTargets(rows[0]!.mask)).toBeGreaterThan(0)
      }
    }
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

  it('refuses messages without a template and text without a tokenizer', async () => {
    const chat = encode({ messages: [{ role: 'user', content: 'x' }] })
    await expect(chat).rejects.toThrow(/row 1: messages need a chat template/)
    await expect(encode({ text: 'x' }, { tokenizer: null })).rejects.toThrow(/row 1: the model has no tokenizer/)
  })

  it('names the row of an id past the vocabulary', () => {
    expect(() => checkIds(Int32Array.of(1, 12), 12, 'a.jsonl:4')).toThrow(/a\.jsonl:4: id 12 at position 1 .* 12/)
  })
})
