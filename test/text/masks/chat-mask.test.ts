import { beforeAll, describe, expect, it } from 'vitest'
import { encodeRow } from '../../../lib/batches/examples/encode.js'
import { type MaskedChat, maskChat } from '../../../lib/text/chat-mask.js'
import { ChatTemplate, type Message } from '../../../lib/text/template.js'
import type { Tokenizer } from '../../../lib/text/tokenizer.js'
import { loadSmallTokenizer, loadTemplate } from '../tokenizer/small-tokenizer.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
})

const turns = (...contents: string[]): Message[] =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }))

/** The trained stretches, as text. */
async function trained({ ids, mask }: MaskedChat): Promise<string[]> {
  const texts: string[] = []
  for (let i = 0; i < ids.length; i++) {
    if (!mask[i]) continue
    let end = i
    while (end < ids.length && mask[end]) end++
    texts.push(await tokenizer.decode(ids.slice(i, end)))
    i = end
  }
  return texts
}

async function masked(template: string, messages: Message[]): Promise<MaskedChat> {
  return maskChat(tokenizer, await loadTemplate(template, tokenizer), messages, 'rows.jsonl:1')
}

describe('maskChat', () => {
  it('T7 trains the assistant turns of a template without generation marks', async () => {
    const chat = await masked('chatml', turns('one', 'two', 'three', 'four'))
    expect(await trained(chat)).toEqual(['two<|im_end|>', 'four<|im_end|>'])
    expect(chat.foreignOpenings).toBe(0)
    expect(await tokenizer.decode(chat.ids)).toContain('assistant\ntwo<|im_end|>\n')
  })

  it('refuses conversations that would take long, with the way out', async () => {
    const many = turns(...Array.from({ length: 1026 }, (_, i) => String(i)))
    await expect(masked('chatml', many)).rejects.toMatchObject({
      code: 'unmaskable-template',
      message: expect.stringMatching(
        /^rows\.jsonl:1: a conversation of 1026 messages .* at most 1024 .*\(the option trainOn: all\)\.$/,
      ),
    })
    const template = await loadTemplate('chatml', tokenizer)
    const options = { tokenizer, template, maxLength: 2 ** 20, trainOn: 'all' as const }
    const { rows } = await encodeRow({ kind: 'messages', messages: many }, 'rows.jsonl:1', options)
    expect(await tokenizer.decode(rows[0]!.documents[0]!.ids)).toContain('assistant\n1025<|im_end|>')
  })

  it('T7 keeps the ids of the whole rendered text', async () => {
    const messages = turns('what is two and two?', 'four', 'and three?', 'seven\n')
    const template = await loadTemplate('chatml', tokenizer)
    const text = await template.render(messages, { addGenerationPrompt: false })
    expect([...(await masked('chatml', messages)).ids]).toEqual(await tokenizer.encode(text))
  })

  it('T7 finds nothing to train where no assistant speaks', async () => {
    const chat = await masked('chatml', [{ role: 'user', content: 'hello?' }])
    expect(await trained(chat)).toEqual([])
  })

  it('T7 is not misled by an answer that repeats the question or the marks of a role', async () => {
    const chat = await masked('chatml', turns('assistant', 'assistant', 'user', 'user'))
    expect(await trained(chat)).toEqual(['assistant<|im_end|>', 'user<|im_end|>'])
  })

  it.each(['e', 'd', '|', 'im', 'end', '<'])(
    'T7 finds the answer "%s", letters of its own end token',
    async (answer) => {
      const chat = await masked('chatml', turns('which?', answer, 'sure?', answer))
      expect(await trained(chat)).toEqual([`${answer}<|im_end|>`, `${answer}<|im_end|>`])
    },
  )

  it('T7 accepts contents that the template trims', async () => {
    const chat = await masked('begin-trimmed', turns('q', '  spaced answer \n'))
    expect(await trained(chat)).toEqual(['spaced answer<|im_end|>'])
  })

  it('T8 falls back to a search where the generation prompt opens a thinking block', async () => {
    const chat = await masked('thinking', turns('one', 'two', 'three', 'four'))
    expect(chat.foreignOpenings).toBe(1)
    expect(await trained(chat)).toEqual(['two<|im_end|>', '</think>\n\nfour<|im_end|>'])
  })

  it('T8 leaves out a token that straddles the end of the prompt and the answer', async () => {
    const chat = await masked('chatml', turns('q', '\n\nanswer'))
    expect(await trained(chat)).toEqual(['answer<|im_end|>'])
  })

  it('T8 fails loudly where the answer cannot be placed', async () => {
    const shouting = new ChatTemplate({
      source: '{% for m in messages %}<|im_start|>{{ m.content | upper }}<|im_end|>{% endfor %}',
      specialTokens: {},
      origin: 'shouting',
    })
    await expect(maskChat(tokenizer, shouting, turns('a', 'b'), 'rows.jsonl:7')).rejects.toThrow(
      /rows\.jsonl:7.*messages\[1\]/,
    )
  })

  it('T9 ends each trained turn on its end token, also before a further EOS', async () => {
    const template = new ChatTemplate({
      source:
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}<|end|>{% endif %}",
      specialTokens: {},
      origin: 'with-eos',
    })
    expect(await trained(await maskChat(tokenizer, template, turns('a', 'b'), 'row'))).toEqual(['b<|im_end|>'])
  })

  it('T9 refuses a template without an end of turn', async () => {
    await expect(masked('plain', turns('a', 'b'))).rejects.toThrow(
      /no special token after messages\[1\].*never learn to stop/,
    )
  })

  it('T9 trains the end token of an empty answer', async () => {
    expect(await trained(await masked('chatml', turns('a', '')))).toEqual(['<|im_end|>'])
  })

  it('T10 trains EOS as an end token although it is the pad token', async () => {
    expect(tokenizer.padId).toBe(tokenizer.eosId)
    const template = new ChatTemplate({
      source:
        '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}',
      specialTokens: tokenizer.specialTokens,
      origin: 'eos',
    })
    const chat = await maskChat(tokenizer, template, turns('a', 'b'), 'row')
    expect(chat.mask[chat.ids.lastIndexOf(tokenizer.eosId!)]).toBe(1)
  })

  it('T11 adds no BOS to a template that writes one', async () => {
    const { ids } = await masked('begin-trimmed', turns('a', 'b'))
    expect([...ids].filter((id) => id === tokenizer.bosId)).toEqual([tokenizer.bosId])
    expect(ids[0]).toBe(tokenizer.bosId)
  })

  it('T11 refuses a double BOS', async () => {
    const twice = new ChatTemplate({
      source: '{{ bos_token }}<|begin|>',
      specialTokens: tokenizer.specialTokens,
      origin: 'twice',
    })
    await expect(maskChat(tokenizer, twice, [{ role: 'user', content: 'x' }], 'row 3')).rejects.toThrow(
      /row 3.*<\|begin\|> twice/,
    )
  })
})
