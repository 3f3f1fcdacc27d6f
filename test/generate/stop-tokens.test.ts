import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stopTokens } from '../../lib/generate/stops.js'
import { ChatTemplate } from '../../lib/text/template.js'
import { compiled, maskChat } from '../text/templates/compiled.js'
import { tokenizerOf } from '../text/tokenizer/visible-tokenizer.js'

const special = ['<u>', '<a>', '<o>', '<end>', '<call>']
const visible = tokenizerOf({ special })
const encodeAnswers: typeof visible.encodeAnswers = async ({ source }, { messages, context, where }) => {
  const { ids, ...masked } = maskChat(visible, compiled(source!), messages, where, context)
  return { ids: Int32Array.from(ids), ...masked }
}
const tokenizer = Object.assign(visible, { eosId: undefined, encodeAnswers })
const model = { path: '', config: { eosIds: [], vocabularySize: 5 }, tokenizer } as unknown as Parameters<
  typeof stopTokens
>[0]

async function stopsOf(source: string): Promise<(string | undefined)[]> {
  const stops = await stopTokens(model, new ChatTemplate({ source, specialTokens: {}, origin: 'test' }))
  return [...stops].map((id) => tokenizer.tokenOf(id)).sort()
}

describe('the tokens that stop generation', () => {
  it.each<[given: unknown, stops: number[] | null]>([
    [undefined, []],
    [2, [2]],
    [
      [2, 3],
      [2, 3],
    ],
    ['2', null],
    [[2, 'three'], null],
    [4, [4]],
    [[2, 5], null],
    [-1, null],
  ])('are those of generation_config.json, or it is malformed: %j', async (given, expected) => {
    const path = mkdtempSync(join(tmpdir(), 'mora-stops-'))
    writeFileSync(join(path, 'generation_config.json'), JSON.stringify({ eos_token_id: given }))
    const stops = stopTokens({ ...model, path }, null)
    if (expected) expect([...(await stops)]).toEqual(expected)
    else
      await expect(stops).rejects.toThrow(
        /generation_config\.json: expected (a token id or a list of them|ids of the model's vocabulary, from 0 to 4,) for eos/,
      )
  })

  it('are those that end an answer, and those that end a call', async () => {
    const template =
      '{% for m in messages %}{% if m.role == "user" %}<u>{{ m.content }}{% else %}<a>{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{{ "<call>" if m.tool_calls else "<end>" }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}'
    expect(await stopsOf(template)).toEqual(['<call>', '<end>'])
  })

  it('are those that open the next turn if no token ends one', async () => {
    const template =
      '{% for m in messages %}{{ {"user": "<u>", "assistant": "<a>", "tool": "<o>"}[m.role] }}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}'
    expect(await stopsOf(template)).toEqual(['<o>', '<u>'])
  })

  it('are those that end an answer before another message if the last one has no end', async () => {
    const template =
      '{% for m in messages %}<a>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}<o>{% endfor %}{{ "<end>" if not loop.last or add_generation_prompt }}{% endfor %}{% if add_generation_prompt %}<a>assistant: {% endif %}'
    expect(await stopsOf(template)).toEqual(['<end>'])
  })

  it('are those that end an answer although marks have more than it, or less', async () => {
    const marked = (answer: string) =>
      `{% for m in messages %}<a>{{ m.role }}: {% generation %}{{ m.content }}${answer}{% endfor %}`
    expect(await stopsOf(marked('<end>{{ "\\n" }}{% endgeneration %}'))).toEqual(['<end>'])
    expect(await stopsOf(marked('{% endgeneration %}<end>'))).toEqual(['<end>'])
  })

  it('are none for a template whose turns cannot be distinguished', async () => {
    expect(await stopsOf('{% for m in messages %}{{ m.content }}{% endfor %}')).toEqual([])
  })
})
